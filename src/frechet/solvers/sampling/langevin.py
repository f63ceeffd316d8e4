"""What Langevin samplers share: a step size from the curvature where chains start."""

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PRNGKeyArray, PyTree, Scalar

from frechet.convex.parameters import parameter
from frechet.core import tree
from frechet.core.calls import Calls
from frechet.derivatives.curvature import lanczos
from frechet.problems.density import Chains, Density
from frechet.solvers.sampling.sampler import Sampler, SamplerState

PRODUCTS = 10
"""Hessian-vector products that an estimate of the curvature takes, at most as many as there are unknowns."""
STARTS = 4
"""Chains at whose starts the curvature is looked at."""


def positive_or_none(value: Any) -> Any:
    """Converter of a field that is derived from the curvature where it is None."""
    return None if value is None else parameter("step sizes and smoothing", value, positive=True)


class LangevinSampler(Sampler):
    r"""A Markov chain along a slope, the gradient of a potential or of a smooth one close to it.

    A subclass gives ``slope`` and ``roughness``, its Lipschitz constant. Lengths that are left out are
    derived from the largest curvature $L$ of $f$ where the first chains start, ten Hessian-vector products a
    chain; of a flat $f$ one is taken. Far from the bulk of a density that may be another: then name them.
    """

    share: ClassVar[float] = 0.2
    """The step size that stands for None, in units of one over the Lipschitz constant."""

    step_size: Any = eqx.field(default=None, converter=positive_or_none)

    @abc.abstractmethod
    def slope(
        self, problem: Density, x: PyTree[Array], curvature: Any
    ) -> tuple[PyTree[Array], dict[str, int]]:
        """The gradient that chains go down, and the oracle calls it took."""

    def roughness(self, curvature: Any) -> Any:
        """The Lipschitz constant of the slope."""
        return curvature

    def lengths(self) -> tuple[Any, ...]:
        """The lengths that are derived from the curvature where they are None."""
        return (self.step_size,)

    def step_at(self, curvature: Any) -> Any:
        """The step size, the user's or that for a curvature."""
        return self.share / self.roughness(curvature) if self.step_size is None else self.step_size

    def begin(
        self, problem: Density, position: PyTree[Array], curvature: Any
    ) -> tuple[PyTree[Array], dict[str, Any]]:
        """As `prepare`, at a known curvature, which a chain keeps."""
        return curvature, {}

    def init(self, problem: Density, x0: Chains, *, key: PRNGKeyArray) -> SamplerState:
        curvature, calls = None, Calls()
        if any(length is None for length in self.lengths()):
            curvature, products = curvature_at_starts(problem, x0)
            calls = calls.add(hvp=products)

        def begin(x: PyTree[Array]) -> tuple:
            return self.begin(problem, x, curvature)

        memory, cost = jax.vmap(begin)(x0.position)
        return SamplerState(x0, calls.add(**{k: jnp.sum(v) for k, v in cost.items()}), memory)

    def move(
        self, problem: Density, position: PyTree[Array], memory: PyTree[Array], key: PRNGKeyArray
    ) -> tuple[PyTree[Array], PyTree[Array], dict[str, Any]]:
        slope, cost = self.slope(problem, position, memory)
        step = self.step_at(memory)
        return diffused(tree.axpy(-step, slope, position), step, key), memory, cost


class EnvelopeSampler(LangevinSampler):
    r"""A Langevin sampler whose slope is that of an envelope, a smooth function close to the potential.

    It is $L + 1/\lambda$-smooth, with $\lambda$ the ``smoothing``: the user's, or in units of $1/L$.
    """

    width: ClassVar[float] = 1.0
    """The smoothing that stands for None, in units of one over the curvature."""

    smoothing: Any = eqx.field(default=None, converter=positive_or_none)

    def lengths(self) -> tuple[Any, ...]:
        return (self.step_size, self.smoothing)

    def roughness(self, curvature: Any) -> Any:
        return curvature + 1 / self.smoothing_at(curvature)

    def smoothing_at(self, curvature: Any) -> Any:
        r"""$\lambda$, the user's or that for a curvature."""
        return self.width / curvature if self.smoothing is None else self.smoothing


def diffused(mean: PyTree[Array], step: Any, key: PRNGKeyArray) -> PyTree[Array]:
    r"""A draw from $N(\text{mean}, 2\,\text{step}\,I)$."""
    return tree.axpy(jnp.sqrt(2 * step), optax.tree.random_like(key, mean), mean)


def curvature_at_starts(problem: Density, x0: Chains) -> tuple[Scalar, Array]:
    r"""The largest $\|\nabla^2 f(x)\|$ at the first chains, 1 where that is 0, and products it took.

    By Lanczos' method.
    """

    def at(x: PyTree[Array]) -> tuple[Scalar, int]:
        steps = min(PRODUCTS, sum(v.size for v in jax.tree.leaves(x)))
        T = lanczos(lambda v: problem.hvp(x, v), tree.wave(x), steps)
        return jnp.max(jnp.abs(jnp.linalg.eigvalsh(T.matrix))).astype(tree.norm(x).dtype), steps

    found, products = jax.vmap(at)(jax.tree.map(lambda v: v[:STARTS], x0.position))
    largest = jnp.max(jnp.where(found == 0, 1, found))
    return largest, jnp.sum(products)
