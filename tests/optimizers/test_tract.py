"""TrAct against its formula, the least-squares problem it solves, and ordinary layers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from frechet.optimizers.layout import EQUINOX, FLAX
from frechet.optimizers.tract import patches, scale_by_tract, tract, tract_linear

LAMBDA = 0.1


def formula(a, gradient, damping=LAMBDA):
    """The gradient of a kernel of shape (fan-in, channels), by an explicit inverse."""
    a, gradient = np.asarray(a, np.float64), np.asarray(gradient, np.float64)
    return np.linalg.inv(a.T @ a / len(a) + damping * np.eye(a.shape[1])) @ gradient


def drawn(rows, fan_in, channels, dtype):
    rng = np.random.default_rng(0)
    a, G = rng.normal(size=(rows, fan_in)), rng.normal(size=(rows, channels)) / rows
    return jnp.asarray(a, dtype), jnp.asarray(G, dtype)


def relative(got, want):
    return np.linalg.norm(np.asarray(got, np.float64) - want) / np.linalg.norm(want)


def scaled(gradient, a, **settings):
    tx = scale_by_tract(LAMBDA, **settings)
    return tx.update(gradient, tx.init(gradient), layer_input=a)[0]


class TestScale:
    @pytest.mark.parametrize("rows", [7, 40])
    def test_both_branches_equal_the_formula(self, precision, rows):
        a, G = drawn(rows, 12, 5, precision)
        bound = 1e-12 if precision == np.float64 else 1e-5
        want = formula(a, a.T @ G)
        got = scaled(a.T @ G, a)
        assert got.dtype == precision
        assert relative(got, want) < bound
        layer = jax.grad(lambda W: jnp.sum(G * tract_linear(a, W, damping=LAMBDA)))(
            jnp.zeros((12, 5), precision)
        )
        assert relative(layer, want) < bound

    def test_it_solves_the_ridge_regression_of_the_proposal(self):
        with jax.enable_x64(True):
            a, G = map(np.asarray, drawn(30, 6, 4, jnp.float64))
            b = len(a)
            # sum_i |b G_i - D a_i|^2 + lambda b |D|^2 as one least-squares problem in D
            stacked = np.concatenate([a, np.sqrt(LAMBDA * b) * np.eye(6)])
            wanted = np.linalg.lstsq(stacked, np.concatenate([b * G, np.zeros((6, 4))]), rcond=None)[0]
            assert relative(scaled(jnp.asarray(a.T @ G), jnp.asarray(a)), wanted) < 1e-10

    def test_hundred_steps_of_an_averaged_gram_matrix(self, precision):
        rng = np.random.default_rng(1)
        a = rng.normal(size=(100, 8, 6)).astype(precision)
        g = rng.normal(size=(100, 6, 3)).astype(precision)
        tx = scale_by_tract(LAMBDA, gram_decay=0.9)

        def step(state, given):
            updates, state = tx.update(given[1], state, layer_input=given[0])
            return state, updates

        _, got = jax.lax.scan(step, tx.init(jnp.asarray(g[0])), (jnp.asarray(a), jnp.asarray(g)))
        A, want = np.zeros((6, 6)), []
        for t in range(100):
            x = a[t].astype(np.float64)
            A = 0.9 * A + 0.1 * x.T @ x / 8
            want.append(
                np.linalg.solve(A / (1 - 0.9 ** (t + 1)) + LAMBDA * np.eye(6), g[t].astype(np.float64))
            )
        assert relative(got, np.stack(want)) < (1e-12 if precision == np.float64 else 1e-6)

    def test_layouts_are_each_others_transpose(self):
        a, G = drawn(9, 6, 4, jnp.float32)
        a = a.reshape(3, 3, 6)  # leading axes are rows
        g = jnp.einsum("bpi,bpo->io", a, G.reshape(3, 3, 4))
        flax, equinox = scaled(g, a), scaled(g.T, a, channel_axis=EQUINOX)
        np.testing.assert_allclose(equinox, flax.T, rtol=1e-6)

    def test_only_kernels_with_inputs_change(self):
        a, G = drawn(9, 4, 4, jnp.float32)
        grads = {
            "first": {"kernel": a.T @ G, "bias": jnp.ones(4)},
            "second": jnp.ones((4, 4)),
            "frozen": None,
        }
        given = {"first": {"kernel": a, "bias": None}, "second": None, "frozen": None}
        for decay in (None, 0.9):
            got = scaled(grads, given, gram_decay=decay)
            np.testing.assert_array_equal(got["second"], grads["second"])
            np.testing.assert_array_equal(got["first"]["bias"], grads["first"]["bias"])
            assert relative(got["first"]["kernel"], formula(a, a.T @ G)) < 1e-5

    def test_masked_to_the_first_layer(self):
        a, G = drawn(9, 4, 4, jnp.float32)
        grads, given = {"first": a.T @ G, "second": jnp.ones((4, 4))}, {"first": a, "second": None}
        tx = optax.masked(scale_by_tract(LAMBDA, gram_decay=0.9), {"first": True, "second": False})
        state = tx.init(grads)
        assert sum(s.size for s in jax.tree.leaves(state)) == 1 + 16
        got, _ = tx.update(grads, state, layer_input=given)
        np.testing.assert_array_equal(got["second"], grads["second"])
        assert relative(got["first"], formula(a, a.T @ G)) < 1e-5

    def test_sgd_or_adam_follows(self):
        a, G = drawn(9, 4, 3, jnp.float32)
        want = formula(a, a.T @ G)
        for base, expected in ((None, np.sign(want)), (optax.trace(0.9), want)):
            tx = tract(0.5, LAMBDA, base=base)
            got, _ = tx.update(a.T @ G, tx.init(a.T @ G), layer_input=a)
            assert relative(got, -0.5 * expected) < 1e-5

    def test_what_is_missing_is_named(self):
        tx = scale_by_tract()
        g = jnp.ones((4, 2))
        with pytest.raises(TypeError, match="needs update"):
            tx.update(g, tx.init(g))
        with pytest.raises(ValueError, match="takes 4 inputs, layer_input has 3"):
            tx.update(g, tx.init(g), layer_input=jnp.ones((5, 3)))


class TestLayer:
    @pytest.mark.parametrize("layout", [FLAX, EQUINOX])
    def test_all_but_the_kernels_gradient_is_an_ordinary_layers(self, precision, layout):
        a, G = drawn(15, 6, 4, precision)
        W = jnp.asarray(np.random.default_rng(2).normal(size=(6, 4)), precision)
        W, bias = W if layout == FLAX else W.T, jnp.ones(4, precision)
        ours = lambda a, W, b: tract_linear(a, W, b, damping=LAMBDA, channel_axis=layout)  # noqa: E731
        plain = lambda a, W, b: a @ (W if layout == FLAX else W.T) + b  # noqa: E731
        z, pull = jax.vjp(ours, a.reshape(5, 3, 6), W, bias)
        want, plain_pull = jax.vjp(plain, a.reshape(5, 3, 6), W, bias)
        np.testing.assert_allclose(z, want, rtol=1e-6, atol=1e-6)
        (da, dW, db), (pa, pW, pb) = pull(G.reshape(5, 3, 4)), plain_pull(G.reshape(5, 3, 4))
        np.testing.assert_array_equal(db, pb)
        np.testing.assert_allclose(da, pa, rtol=1e-6, atol=1e-6)
        kernel = lambda w: np.asarray(w if layout == FLAX else w.T)  # noqa: E731
        assert relative(kernel(dW), formula(a, kernel(pW))) < (1e-12 if precision == np.float64 else 1e-5)

    def test_half_precision_is_solved_in_float32(self):
        a, G = drawn(40, 6, 4, jnp.bfloat16)
        got = jax.grad(lambda W: jnp.sum(G * tract_linear(a, W, damping=LAMBDA)))(
            jnp.zeros((6, 4), jnp.bfloat16)
        )
        assert got.dtype == jnp.bfloat16
        assert relative(got, formula(a, np.asarray(a, np.float64).T @ np.asarray(G, np.float64))) < 2**-6

    def test_wrong_fan_in(self):
        with pytest.raises(ValueError, match="the kernel takes 4 inputs, x has 3"):
            tract_linear(jnp.ones((2, 3)), jnp.ones((4, 2)))


class TestPatches:
    @pytest.mark.parametrize("strides, padding", [(1, "VALID"), ((2, 1), "SAME"), (2, ((1, 0), (0, 2)))])
    @pytest.mark.parametrize("layout", [FLAX, EQUINOX])
    def test_times_the_kernel_they_are_the_convolution(self, layout, strides, padding):
        rng = np.random.default_rng(3)
        x = jnp.asarray(rng.normal(size=(2, 7, 6, 3)), jnp.float32)
        kernel = jnp.asarray(rng.normal(size=(3, 2, 3, 5)), jnp.float32)
        steps = (strides, strides) if isinstance(strides, int) else strides
        want = jax.lax.conv_general_dilated(
            x, kernel, steps, padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
        ).reshape(-1, 5)
        if layout == EQUINOX:
            x, kernel = jnp.moveaxis(x, -1, 1), jnp.transpose(kernel, (3, 2, 0, 1))
        rows = patches(x, (3, 2), strides, padding, channel_axis=layout)
        flat = kernel.reshape(-1, 5) if layout == FLAX else kernel.reshape(5, -1).T
        np.testing.assert_allclose(rows @ flat, want, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("layout", [FLAX, EQUINOX])
    def test_a_convolutions_gradient(self, layout):
        rng = np.random.default_rng(4)
        rows = jnp.asarray(rng.normal(size=(50, 18)), jnp.float32)
        g = jnp.asarray(rng.normal(size=(3, 3, 2, 5) if layout == FLAX else (5, 2, 3, 3)), jnp.float32)
        flat = lambda k: np.asarray(k).reshape(18, 5) if layout == FLAX else np.asarray(k).reshape(5, 18).T  # noqa: E731
        got = scaled(g, rows, channel_axis=layout)
        assert got.shape == g.shape
        assert relative(flat(got), formula(rows, flat(g))) < 1e-5
