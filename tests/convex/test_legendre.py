"""Separable Legendre geometries: mirror maps, curvature and both Bregman proximal maps, by brute force."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr

X = np.array([0.9, -0.4, 0.01])
GEOMETRIES = {
    "hypentropy": fr.convex.Hypentropy(0.7),
    "quadratic": fr.convex.DiagonalQuadratic(2.0),
    "barrier": fr.convex.LogBarrier(-1.0, 2.0),
}
FUNCTIONS = {
    "l1": fr.convex.L1(1.0),
    "elastic net": fr.convex.ElasticNet(1.0, 0.5),
    "box": fr.convex.Box(-0.3, 0.5),
    "zero": fr.convex.Zero(),
}


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_mirror_map_is_the_gradient_and_has_its_inverse(geometry: fr.convex.Legendre, precision: Any):
    x, eps = jnp.asarray(X, precision), float(jnp.finfo(precision).eps)
    mirrored = geometry.mirror(x)
    assert jnp.allclose(mirrored, jax.grad(geometry.value)(x), rtol=0, atol=64 * eps)
    assert jnp.allclose(geometry.inverse(mirrored), x, rtol=0, atol=64 * eps)
    curvature = jax.jvp(geometry.mirror, (x,), (jnp.ones_like(x),))[1]
    assert jnp.allclose(geometry.curvature(x), curvature, rtol=64 * eps)
    assert geometry.divergence(x, x) == 0 < geometry.divergence(0.9 * x, x)
    assert mirrored.dtype == x.dtype == geometry.inverse(mirrored).dtype


@pytest.mark.parametrize("g", FUNCTIONS.values(), ids=FUNCTIONS)
@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_bregman_proximal_maps_minimise(geometry: fr.convex.Legendre, g: fr.convex.Function):
    with jax.enable_x64(True):
        x, step = jnp.asarray(X), 0.3
        # Candidates a millionth apart about the point, and coarse ones everywhere.
        grid = jnp.linspace(-0.95, 1.95, 30)
        for prox, divergence in (
            (geometry.left_prox, lambda u: geometry.divergence(u, x)),
            (geometry.right_prox, lambda u: geometry.divergence(x, u)),
        ):
            p = prox(g, x, step)
            worth = jax.jit(jax.vmap(lambda u, d=divergence: g(u) + d(u) / step))
            near = p[:, None] + 1e-5 * jnp.linspace(-1, 1, 21)
            for i in range(3):
                rivals = jnp.concatenate([near[i], grid])
                assert (
                    worth(jnp.tile(p, (len(rivals), 1)).at[:, i].set(rivals)).min()
                    >= worth(p[None])[0] - 1e-14
                )


@pytest.mark.parametrize("side", ["left", "right"])
def test_envelope_gradients_are_those_of_the_envelopes(side: str):
    with jax.enable_x64(True):
        geometry, g, x, step = fr.convex.Hypentropy(0.7), fr.convex.L1(0.8), jnp.asarray(X), 0.3

        def envelope(x: jax.Array) -> jax.Array:
            p = getattr(geometry, f"{side}_prox")(g, x, step)
            pair = (p, x) if side == "left" else (x, p)
            return g(p) + geometry.divergence(*pair) / step

        h = 1e-5
        differences = [(envelope(x.at[i].add(h)) - envelope(x.at[i].add(-h))) / (2 * h) for i in range(3)]
        found = getattr(geometry, f"{side}_envelope_gradient")(g, x, step)
        assert jnp.allclose(found, jnp.stack(differences), atol=1e-9)


def test_bad_parameters_are_refused():
    with pytest.raises(ValueError, match="beta must be above zero"):
        fr.convex.Hypentropy(jnp.array([1.0, 0.0]))
    with pytest.raises(ValueError, match="bounded box"):
        fr.convex.LogBarrier(0.0, jnp.inf)
    with pytest.raises(ValueError, match="lower must be below upper"):
        fr.convex.LogBarrier(1.0, 1.0)
