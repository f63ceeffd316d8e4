"""Maps to be learned from samples of two measures; of all but one the right one is known."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Scalar

from frechet.models import ICNN, AffineMap, ConvexPotentials, CycleFit, Residual, TransportMap
from frechet.problems.training import Target
from frechet.transport import CostFunction
from frechet.workbench.suite.registry import Case, problem

TRAINED, HELD_OUT = 16_384, 512
Points = Float[np.ndarray, "n d"]
_DRAWN = "Uscidda and Cuturi 2023, The Monge gap, arXiv 2302.04953; data drawn"
_ICNN = "Korotin et al. 2021, Wasserstein-2 generative networks, arXiv 1909.13082; data drawn"


class Mahalanobis(CostFunction):
    r"""$c(x, y) = (x - y)^\top M (x - y)$ with $M$ positive definite."""

    M: Any = eqx.field(converter=jnp.asarray)

    def __call__(self, x: Float[Array, " d"], y: Float[Array, " d"]) -> Scalar:
        return (x - y) @ self.M @ (x - y)


def network(key: Any) -> Residual:
    """The identity plus a network 2-64-64-2, its last layer small at first."""
    mlp = eqx.nn.MLP(2, 2, 64, 2, activation=jax.nn.silu, key=key)
    return Residual(eqx.tree_at(lambda m: m.layers[-1].weight, mlp, replace_fn=lambda w: w / 10))


def potentials(key: Any) -> ConvexPotentials:
    """Two input-convex networks of two layers of 64 units."""
    forward, backward = jax.random.split(key)
    return ConvexPotentials(ICNN(2, 64, 2, key=forward), ICNN(2, 64, 2, key=backward))


def turned(key: Any) -> AffineMap:
    """A linear map that carries N(0, I) to N(0, diag(4, 1/4)), and turns it by a right angle."""
    return AffineMap(jnp.array([[0.0, -2.0], [0.5, 0.0]]))


def gaussian(rng: np.random.Generator, n: int) -> Points:
    """N(0, I) in the plane."""
    return rng.normal(size=(n, 2))


def samples(
    draw: Callable[[np.random.Generator, int], Points], carry: Callable[[Points], Points]
) -> tuple[tuple[Array, Array], tuple[Array, Array, Array]]:
    """Independent samples of a measure and its image, to train on and held out, the latter with images."""
    rng = np.random.default_rng(0)
    x, of_y = draw(rng, TRAINED + HELD_OUT), draw(rng, TRAINED + HELD_OUT)
    held = x[TRAINED:], carry(of_y[TRAINED:]), carry(x[TRAINED:])
    trained = x[:TRAINED], carry(of_y[:TRAINED])
    return jax.tree.map(jnp.asarray, (trained, held))


def case(draw: Callable[..., Any], drawn: tuple, target: Target, **how: Any) -> Case:
    """A problem whose models are drawn for every seed."""
    (x, y), held_out = drawn
    with jax.enable_x64(False):  # the same draw in both precisions
        first = draw(jax.random.key(0))
    made = TransportMap(
        jax.tree.map(lambda v: v.astype(float) if eqx.is_inexact_array(v) else v, first),
        x,
        y,
        batch_size=128,
        objective_size=512,
        held_out=held_out,
        target=target,
        initial=draw,
        **how,
    )
    return Case(made, made.parameters)


def stretched(x: Points) -> Points:
    """To N(0, diag(4, 1/4))."""
    return x * np.array([2.0, 0.5])


def split(x: Points) -> Points:
    """Into four clusters, by the gradient of a convex function that has kinks."""
    return x / 2 + 2 * np.sign(x)


@problem(
    "map-rotated", title="Transport map: linear, between Gaussians, from a start turned by 90°", source=_DRAWN
)
def rotated() -> Case:
    """The start carries one Gaussian to the other: a fit alone has nothing to do, the Monge gap has."""
    return case(turned, samples(gaussian, stretched), Target("map_error", 0.003))


@problem("map-clusters", title="Transport map: a Gaussian torn into four clusters", source=_DRAWN)
def clusters() -> Case:
    """A network from the identity, by Sinkhorn divergence and Monge gap."""
    return case(network, samples(gaussian, split), Target("map_error", 0.02))


@problem("map-clusters-icnn", title="Transport map: four clusters, by input-convex networks", source=_ICNN)
def clusters_by_potentials() -> Case:
    """The data of ``map-clusters``: the gradient of one potential, which another one inverts."""
    return case(
        potentials, samples(gaussian, split), Target("map_error", 0.02), gap_weight=None, fit=CycleFit()
    )


METRIC = np.array([[1.0, 0.9], [0.9, 1.0]])


def metric_map() -> np.ndarray:
    r"""The optimal $A$ to N(0, C) for the cost with ``METRIC``, $M^{-1}(MCM)^{1/2}$: $MA$ is symmetric."""
    w, v = np.linalg.eigh(METRIC @ np.diag([4.0, 0.25]) @ METRIC)
    return np.linalg.solve(METRIC, (v * np.sqrt(w)) @ v.T)


def in_metric() -> tuple:
    """Samples of N(0, I) and N(0, diag(4, 1/4)), with images under the map of ``metric_map``."""
    trained, (x, y, _) = samples(gaussian, stretched)
    return trained, (x, y, x @ jnp.asarray(metric_map().T, x.dtype))


@problem(
    "map-mahalanobis",
    title="Transport map: between Gaussians, coordinates correlated in the cost",
    source=_DRAWN,
)
def mahalanobis() -> Case:
    """The optimal map is no gradient, so no convex potential has it."""
    return case(network, in_metric(), Target("map_error", 0.01), cost=Mahalanobis(METRIC))


def treated(rng: np.random.Generator, n: int) -> tuple[Points, Points]:
    """Expression of two markers in three types of cells, control and treated: each type responds its way."""
    types = rng.choice(3, size=n, p=[0.5, 0.3, 0.2])
    centres = np.array([[0.0, 0.0], [3.0, 1.0], [1.0, 3.5]])
    spread = np.array([[0.5, 0.3], [0.3, 0.6], [0.4, 0.4]])
    noise = rng.normal(size=(n, 2))
    control = centres[types] + spread[types] * noise
    response = np.array([[0.0, -1.5], [1.5, 0.5], [0.5, 0.2]])
    return control, control + response[types] + 0.2 * noise


@problem("map-cells", title="Transport map: cells of three types before and after a treatment", source=_DRAWN)
def cells() -> Case:
    """Nobody sees a cell twice, so how a cell responds is an inference; the target is a divergence."""
    rng = np.random.default_rng(0)
    (x, _), (_, y) = (treated(rng, TRAINED + HELD_OUT) for _ in range(2))
    parted = tuple((jnp.asarray(v[:TRAINED]), jnp.asarray(v[TRAINED:])) for v in (x, y))
    (x, held_x), (y, held_y) = parted
    return case(network, ((x, y), (held_x, held_y)), Target("divergence", 0.03))
