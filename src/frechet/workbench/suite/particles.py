"""Functionals of measures, over particles."""

import jax.numpy as jnp
import numpy as np

from frechet.problems import EnergyDistance, InteractionEnergy, Particles, UniformLaw
from frechet.workbench.suite.registry import Case, problem


@problem(
    "energy-distance",
    title="Particles: energy distance to a uniform law, 20 on the line",
    source="drawn; Daneshmand, Lee, Jin 2023, arXiv 2302.04753",
)
def energy_distance() -> Case:
    """The target is far from the start, and the distance has a kink wherever particles meet."""
    n = 20
    start = jnp.asarray(np.random.default_rng(0).uniform(2.0, 2.1, n))
    best = jnp.asarray((np.arange(n) + 0.5) / n)
    # optimum: the cells' midpoints, at half of 1/(3n^2) as the interval has length one
    return Case(Particles(EnergyDistance(UniformLaw(0.0, 1.0)), best), start, optimum=1 / (6 * n**2))


@problem(
    "interaction-energy",
    title="Particles: attraction of each other and of a potential, 50 in the plane",
    source="drawn; McCann 1997, A convexity principle for interacting gases",
)
def interaction_energy() -> Case:
    """A convex kernel, steeper than quadratic; particles that are far apart attract each other most."""
    rng = np.random.default_rng(0)
    scale = jnp.asarray([1.0, 0.1])
    energy = InteractionEnergy(
        lambda d: 0.25 * jnp.sum(d**2) ** 2, lambda w: jnp.sum(scale * (jnp.exp(w) - 2 * w))
    )
    best = jnp.full((50, 2), np.log(2.0))
    # optimum: all where the potential is least, at log 2
    start = jnp.asarray(rng.uniform(-2, 2, (50, 2)))
    return Case(Particles(energy, best), start, optimum=1.1 * (2 - 2 * np.log(2.0)))


@problem(
    "tensor-decomposition",
    title="Particles: orthogonal decomposition of a tensor of order 3, 6 components in 6 dimensions",
    source="drawn; after Daneshmand, Lee, Jin 2023, arXiv 2302.04753",
)
def tensor_decomposition() -> Case:
    """Half the squared distance between the tensor's and the particles' third moments; not convex."""
    rng = np.random.default_rng(0)
    drawn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    components, start = jnp.asarray(drawn), jnp.asarray(drawn + rng.normal(size=(6, 6)) / 4)
    moment = lambda w: jnp.einsum("ni,nj,nk->ijk", w, w, w) / len(w)  # noqa: E731
    tensor = moment(components)
    # optimum: the components themselves
    return Case(Particles(lambda w: 0.5 * jnp.sum((moment(w) - tensor) ** 2), components), start, optimum=0.0)
