"""AdamP and SGDP against the paper's steps in NumPy, in the layouts of Flax and of PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from frechet.optimizers.adamp import adamp, scale_by_sgdp, sgdp
from frechet.optimizers.layout import EQUINOX, FLAX
from frechet.optimizers.radial import radial_coefficient, remove_radial
from tests.optimizers.trajectory import updates_at

SHAPES = {"dense": (6, 6), "conv": (3, 3, 2, 4), "bias": (6,), "scale": ()}  # channels last
LR, WD, DELTA, RATIO, EPS = 0.01, 0.1, 0.1, 0.1, 1e-8


def orthogonal(g, w, axes):
    return g - np.sum(g * w, axis=axes, keepdims=True) / np.sum(w * w, axis=axes, keepdims=True) * w


def inputs(steps, dtype):
    """Gradients that are orthogonal to each channel, to the layer or to nothing, by turns; weights."""
    rng = np.random.default_rng(0)
    G, W = ({k: rng.normal(size=(steps, *s)) for k, s in SHAPES.items()} for _ in range(2))
    for k in ("dense", "conv"):
        for t in range(steps):
            g, w = G[k][t], W[k][t]
            if t % 3 == 0:
                G[k][t] = orthogonal(g, w, tuple(range(g.ndim - 1)))
            elif t % 3 == 1:
                G[k][t] = orthogonal(g, w, None)
            else:
                G[k][t] = g + w  # far from orthogonal
    cast = lambda tree: {k: v.astype(dtype) for k, v in tree.items()}  # noqa: E731
    return cast(G), cast(W)


def projected(p, g, w):
    """Step 2 and 3 of the method, a row a channel (w has its channels last); the direction and the ratio."""
    if w.ndim < 2:
        return p, 1.0
    for rows in (lambda x: np.moveaxis(x, -1, 0).reshape(x.shape[-1], -1), lambda x: x.reshape(1, -1)):
        gr, wr, pr = rows(g), rows(w), rows(p)
        norms = np.linalg.norm(gr, axis=1) * np.linalg.norm(wr, axis=1)
        cosine = np.abs(np.sum(gr * wr, axis=1)) / np.maximum(norms, EPS)
        if cosine.max() < DELTA / np.sqrt(gr.shape[1]):
            unit = wr / (np.linalg.norm(wr, axis=1, keepdims=True) + EPS)
            pr = pr - unit * np.sum(unit * pr, axis=1, keepdims=True)
            if len(pr) == 1:
                return pr.reshape(w.shape), RATIO
            return np.moveaxis(pr.reshape(w.shape[-1], *w.shape[:-1]), 0, -1), RATIO
    return p, 1.0


def reference_adamp(G, W, nesterov, b1=0.9, b2=0.999):
    m = v = np.zeros(G.shape[1:])
    steps = []
    for t, (g, w) in enumerate(zip(G, W, strict=True), 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        numerator = b1 * m + (1 - b1) * g if nesterov else m
        p, ratio = projected(numerator / (np.sqrt(v) / np.sqrt(1 - b2**t) + EPS), g, w)
        steps.append((1 - LR * WD * ratio) * w - LR / (1 - b1**t) * p - w)
    return np.array(steps)


def reference_sgdp(G, W, nesterov, mu=0.9, dampening=0.2):
    b = np.zeros(G.shape[1:])
    steps = []
    for g, w in zip(G, W, strict=True):
        b = mu * b + (1 - dampening) * g
        p, ratio = projected(g + mu * b if nesterov else b.copy(), g, w)
        steps.append((1 - LR * WD * ratio / (1 - mu)) * w - LR * p - w)
    return np.array(steps)


METHODS = {
    "adamp": (lambda **k: adamp(LR, weight_decay=WD, **k), reference_adamp),
    "sgdp": (lambda **k: sgdp(LR, dampening=0.2, weight_decay=WD, **k), reference_sgdp),
}


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_agrees_with_the_formulas_over_100_steps(method, nesterov, precision):
    make, reference = METHODS[method]
    G, W = inputs(100, precision)
    found = updates_at(make(nesterov=nesterov), G, W)
    for k in SHAPES:
        expected = reference(G[k].astype(np.float64), W[k].astype(np.float64), nesterov)
        assert found[k].dtype == precision
        error = np.abs(found[k] - expected).max() / np.abs(expected).max()
        assert error < (1e-12 if precision == "float64" else 1e-6), k


@pytest.mark.parametrize("method", METHODS)
def test_channels_first_is_the_same_transposed(method):
    make, _ = METHODS[method]
    G, W = inputs(12, np.float32)
    del G["scale"], W["scale"]
    first = lambda tree: {k: np.moveaxis(v, -1, 1) if v.ndim > 2 else v for k, v in tree.items()}  # noqa: E731
    found = first(updates_at(make(channel_axis=FLAX), G, W))
    moved = updates_at(make(channel_axis=EQUINOX), first(G), first(W))
    for k in found:
        np.testing.assert_allclose(found[k], moved[k], rtol=1e-5, atol=1e-7)
    # The axis matters: taken for channels first, the same arrays are another problem.
    assert np.abs(updates_at(make(channel_axis=EQUINOX), G, W)["dense"] - found["dense"]).max() > 1e-4


def test_sgdp_first_two_steps_by_hand():
    # One channel, w = (3, 4): g = (4, -3) is orthogonal, so p = g, then g + mu b = 1.9 g; decay is a tenth.
    # Then the momentum g at weights g: all of it is radial, what is left is the new gradient's 1.9 w.
    w, g = np.array([[3.0], [4.0]]), np.array([[4.0], [-3.0]])
    found = updates_at(
        sgdp(0.1, nesterov=True, weight_decay=0.01),
        np.stack([g, w]).astype(np.float32),
        np.stack([w, g]).astype(np.float32),
    )
    np.testing.assert_allclose(found, [-0.1 * (1.9 * g + 0.01 * w), -0.1 * (1.9 * w + 0.01 * g)], rtol=1e-5)


def test_weights_that_are_not_scale_invariant_see_adamw():
    # cos(g, w) = 1: never projected, and decayed in full. Biases never are, even when orthogonal.
    W = {"w": np.ones((1, 4, 3), np.float32), "b": np.array([[1.0, 0.0]], np.float32)}
    G = {"w": 0.3 * W["w"], "b": np.array([[0.0, 2.0]], np.float32)}
    found, expected = (updates_at(make(0.1, weight_decay=0.1), G, W) for make in (adamp, optax.adamw))
    for k in W:
        np.testing.assert_allclose(found[k], expected[k], rtol=2e-5)  # Optax's bias correction is off by 1e-5


def test_projection_leaves_the_momentum_buffer_alone():
    w, g = jnp.array([[1.0], [0.0]]), jnp.array([[0.0], [1.0]])
    tx = scale_by_sgdp(nesterov=False)
    update = jax.jit(tx.update)
    _, state = update(w, tx.init(w), w)  # radial, and so far from orthogonal that it stays
    _, state = update(g, state, w)
    np.testing.assert_allclose(state.trace, [[0.9], [1.0]], rtol=1e-6)  # the radial 0.9 is still there


def test_no_parameters_no_weights_no_gradients():
    one = np.ones((1, 2, 2), np.float32)
    none = np.ones((1, 0, 2), np.float32)
    for make in (adamp, sgdp):
        with pytest.raises(ValueError, match="need the parameters"):
            make().update(one, make().init(one))
        G, W = (0 * one, one, none), (one, 0 * one, none)
        for found, w in zip(updates_at(make(), G, W), W, strict=True):
            assert found.shape == w.shape and np.all(np.isfinite(found))


def test_radial_part_of_tiny_and_of_parallel_vectors():
    w = jnp.array([1.0, 1.0, 0.0])
    tiny = remove_radial(jnp.array([1e-25, 0.0, 1e-25]), w, renormalise=True)
    np.testing.assert_allclose(tiny, 1e-25 * np.array([1, -1, 2]) / np.sqrt(3), rtol=1e-6)
    assert not jnp.any(remove_radial(jnp.array([0.1, 0.1, 0.0]), 3.7 * w, renormalise=True))
    assert float(radial_coefficient(jnp.array(0.0), jnp.array(0.0))) == 0
