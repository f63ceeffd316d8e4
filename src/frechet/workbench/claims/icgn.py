"""Claims of "Input Convex Gradient Networks" (Richter-Powell, Lorraine, Amos 2021, arXiv 2111.12187)."""

import itertools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

import frechet as fr
from frechet.models import ICGN, ICNN, DeepICGN, GradientMap
from frechet.workbench.claims import Evidence, claim

SYSTEM = "icgn"
SIZE, WIDTH = 3, 7


def _weights(rng: np.random.Generator, *sizes: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Standard normal weights and biases of layers."""
    return [(rng.normal(size=(b, a)), rng.normal(size=b)) for a, b in itertools.pairwise(sizes)]


def _network(layers: list[tuple[np.ndarray, np.ndarray]]) -> Callable[[Any], Any]:
    def network(x: Any) -> Any:
        for W, b in layers:
            x = jax.nn.sigmoid(W @ x + b)
        return x

    return network


def _closed(layers: list[tuple[np.ndarray, np.ndarray]]) -> ICGN:
    """The closed form with these weights and no linear part."""
    ((W, b),) = layers
    made = ICGN(SIZE, WIDTH, key=jax.random.key(0))
    parts = jnp.asarray(W), jnp.asarray(b), jnp.zeros((SIZE, SIZE)), jnp.zeros(SIZE)
    return eqx.tree_at(lambda g: (g.W, g.b, g.L, g.c), made, parts)


@claim(
    SYSTEM, "quadrature agrees with the closed form of one layer: to 4e-3 with 5 nodes, to rounding with 20"
)
def quadrature() -> Evidence:
    rng = np.random.default_rng(0)
    layers = _weights(rng, SIZE, WIDTH)
    x = jnp.asarray(rng.normal(size=(20, SIZE)))

    @jax.jit
    def errors(x: jax.Array) -> list[jax.Array]:
        exact = jax.vmap(_closed(layers))(x)
        maps = [DeepICGN(_network(layers), SIZE, nodes=nodes, alpha=0.0) for nodes, _ in bounds]
        return [jnp.max(jnp.abs(jax.vmap(g)(x) - exact)) for g in maps]

    bounds = ((5, 4e-3), (10, 4e-5), (20, 1e-14))
    rows = [
        {"nodes": nodes, "bound": bound, "error": float(error), "holds": float(error) <= bound}
        for (nodes, bound), error in zip(bounds, errors(x), strict=True)
    ]
    return Evidence.table(rows)


def _jacobians(g: Callable[[Any], Any], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Relative asymmetry of Jacobians at random points, and the least eigenvalue of symmetric parts."""
    x = jnp.asarray(np.random.default_rng(1).normal(size=(count, SIZE)))
    D = np.asarray(jax.jit(jax.vmap(jax.jacfwd(g)))(x))
    size = np.linalg.norm(D, axis=(1, 2))
    asymmetry = np.linalg.norm(D - D.transpose(0, 2, 1), axis=(1, 2)) / size
    return asymmetry, np.linalg.eigvalsh(D + D.transpose(0, 2, 1))[:, 0] / (2 * size)


@claim(SYSTEM, "one layer is the gradient of a convex function: symmetric, positive definite Jacobians")
def one_layer() -> Evidence:
    asymmetry, least = _jacobians(_closed(_weights(np.random.default_rng(0), SIZE, WIDTH)), 200)
    rows = [
        {"measured": "largest |D - D'| / |D|", "value": asymmetry.max(), "holds": asymmetry.max() < 3e-10},
        {"measured": "least eigenvalue / |D|", "value": least.min(), "holds": least.min() > 0},
    ]
    return Evidence.table(rows, note="200 points, three inputs, seven units")


@claim(SYSTEM, "two layers are not: Jacobians are far from symmetric, and not positive semi-definite")
def two_layers() -> Evidence:
    g = DeepICGN(_network(_weights(np.random.default_rng(0), SIZE, WIDTH, WIDTH)), SIZE, alpha=0.0)
    asymmetry, least = _jacobians(g, 200)
    rows = [
        {
            "measured": "median |D - D'| / |D|",
            "value": np.median(asymmetry),
            "holds": np.median(asymmetry) > 0.05,
        },
        {"measured": "largest", "value": asymmetry.max(), "holds": asymmetry.max() > 0.3},
        {"measured": "least eigenvalue / |D|", "value": least.min(), "holds": least.min() < -0.1},
    ]
    return Evidence.table(rows, note="200 points; it is detected, not prevented")


def _regressed(model: eqx.Module, steps: int = 4000) -> float:
    """Relative error of a fit of the gradient of logsumexp(4x) in the plane, at points held out."""
    rng = np.random.default_rng(0)
    x, held = (jnp.asarray(3 * rng.normal(size=(n, 2))) for n in (4000, 1000))
    truth = jax.vmap(lambda x: 4 * jax.nn.softmax(4 * x))
    parameters, static = eqx.partition(model, eqx.is_inexact_array)

    def error(p: Any, batch: Any) -> Any:
        x, y = batch
        return jnp.mean(jnp.sum((jax.vmap(eqx.combine(p, static))(x) - y) ** 2, axis=1))

    problem = fr.Training(error, (x, truth(x)), batch_size=128)
    rate = optax.cosine_decay_schedule(2e-2, steps)
    trained = fr.solve(problem, parameters, fr.solvers.Optax(optax.adam(rate)), max_steps=steps)
    right = truth(held)
    return float(error(trained.x, (held, right)) / jnp.mean(jnp.sum(right**2, axis=1)))


@claim(
    SYSTEM,
    "one layer learns the gradient of logsumexp in the plane to a relative squared error of 1e-2",
    fast=False,
)
def regression() -> Evidence:
    key = jax.random.key(0)
    error = _regressed(ICGN(2, 64, key=key))
    rival = _regressed(GradientMap(ICNN(2, 64, 1, key=key)))
    note = (
        f"64 units; the gradient of an input-convex network of one such layer, with a quadratic: {rival:.2g}"
    )
    return Evidence.at_most(1e-2, error, note=note)


@claim(
    SYSTEM,
    "by the Sinkhorn divergence it learns the map from N(0, I) to N(0, diag(4, 1/4)) to a mean error of 0.05",
    fast=False,
)
def transport() -> Evidence:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 8192, 2))
    stretch = np.array([2.0, 0.5])
    steps = 400
    problem = fr.TransportMap(
        ICGN(2, 32, key=jax.random.key(0)),
        jnp.asarray(x),
        jnp.asarray(y * stretch),
        gap_weight=None,
        batch_size=256,
    )
    rate = optax.cosine_decay_schedule(3e-2, steps)
    solver = fr.solvers.Optax(optax.adam(rate))
    T = problem.map(fr.solve(problem, problem.parameters, solver, max_steps=steps).x)
    held = rng.normal(size=(2000, 2))
    off = np.asarray(jax.vmap(T)(jnp.asarray(held))) - held * stretch
    return Evidence.at_most(0.05, float(np.mean(np.sum(off**2, axis=1))), note="mean squared, 2,000 points")
