"""Mirror Langevin Monte Carlo, corrected by Metropolis's rule."""

from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PRNGKeyArray, PyTree, Scalar

from frechet.convex.hypentropy import Hypentropy
from frechet.convex.legendre import Legendre
from frechet.core import tree
from frechet.problems.density import Density
from frechet.solvers.sampling.langevin import LangevinSampler, positive_or_none
from frechet.solvers.sampling.mirrored import relative


class _Seen(NamedTuple):
    """``f + g`` and the gradient of ``f`` where a chain is, and its step size."""

    potential: Scalar
    gradient: PyTree[Array]
    step: Any


class MetropolisMirrorLangevin(LangevinSampler):
    r"""The Metropolis-adjusted mirror Langevin algorithm (MAMLA), unbiased on constrained sets.

    A step of mirror Langevin Monte Carlo is a proposal,

    $$\nabla\varphi(x') = \nabla\varphi(x) - \gamma\nabla f(x)
      + \sqrt{2\gamma}\,\nabla^2\varphi(x)^{1/2}\xi,$$

    which stays in the domain of $\varphi$ by construction, so with the barrier of a box a density truncated
    to it is drawn from exactly. It is accepted with the probability that makes $e^{-f-g}$ stationary. A move
    costs a value and a gradient, whether it is accepted or not.

    Args:
        mirror: $\varphi$; its domain is where chains live and has to hold the start.
        step_size: $\gamma$; None takes $d^{-1/3}/L$ in $d$ dimensions, with the largest curvature $L$ of $f$
            relative to $\varphi$ where a chain starts, or that of 1 where $f$ is flat.

    Source: Srinivasan, Wibisono, Wilson 2024, Fast sampling from constrained spaces using the
    Metropolis-adjusted mirror Langevin algorithm, arXiv 2312.08823.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> uniform = fr.Density(lambda x: 0.0 * jnp.sum(x), fr.convex.Box(-1.0, 1.0))
        >>> sampler = MetropolisMirrorLangevin(fr.convex.LogBarrier(-1.0, 1.0), 0.5)
        >>> x = fr.solve(uniform, uniform.chains(jnp.zeros(1), 500), sampler, max_steps=200).x
        >>> 0.28 < float(jnp.mean(x.position**2)) < 0.39
        True
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gradient", "potential"})

    share: ClassVar[float] = 1.0

    mirror: Legendre = eqx.field(default_factory=Hypentropy)

    def __init__(self, mirror: Legendre | None = None, step_size: Any = None):
        self.mirror = Hypentropy() if mirror is None else mirror
        self.step_size = positive_or_none(step_size)

    def begin(
        self, problem: Density, position: PyTree[Array], curvature: Any
    ) -> tuple[_Seen, dict[str, Any]]:
        potential, gradient = problem.potential_and_gradient(position)
        step = self.step_at(relative(curvature, self.mirror, position))
        if self.step_size is None:
            step = step / sum(v.size for v in jax.tree.leaves(position)) ** (1 / 3)
        step = jnp.asarray(step, potential.dtype)
        return _Seen(potential, gradient, step), {"value": 1, "gradient": 1}

    def slope(
        self, problem: Density, x: PyTree[Array], curvature: Any
    ) -> tuple[PyTree[Array], dict[str, int]]:
        return problem.gradient(x), {"gradient": 1}

    def move(
        self, problem: Density, position: PyTree[Array], memory: _Seen, key: PRNGKeyArray
    ) -> tuple[PyTree[Array], _Seen, dict[str, Any]]:
        draw, decide = jax.random.split(key)
        step = memory.step
        mean, curvature = self._proposal(position, memory)
        noise = optax.tree.random_like(draw, position)
        scale = jnp.sqrt(2 * step)
        dual = jax.tree.map(
            lambda y, h, xi: (y + scale * jnp.sqrt(h) * xi).astype(y.dtype), *(mean, curvature, noise)
        )
        ahead = self.mirror.inverse(dual)
        seen = _Seen(*problem.potential_and_gradient(ahead), step)
        forward = _log_density(dual, self.mirror.curvature(ahead), mean, curvature, step)
        back = self._proposal(ahead, seen)
        backward = _log_density(self.mirror.mirror(position), curvature, *back, step)
        ratio = memory.potential - seen.potential + backward - forward
        # NaN, as of a proposal that rounding has put onto the boundary, is no reason to go there.
        accepted = jnp.log(jax.random.uniform(decide, dtype=ratio.dtype)) < ratio
        moved, seen = tree.where(accepted, (ahead, seen), (position, memory))
        return moved, seen, {"value": 1, "gradient": 1}

    def _proposal(self, x: PyTree[Array], seen: _Seen) -> tuple[PyTree[Array], PyTree[Array]]:
        """Mean and, but for 2 gamma, variance of the next point's dual coordinates."""
        return tree.axpy(-seen.step, seen.gradient, self.mirror.mirror(x)), self.mirror.curvature(x)


def _log_density(
    dual: PyTree[Array], jacobian: PyTree[Array], mean: PyTree[Array], variance: PyTree[Array], step: Scalar
) -> Scalar:
    """Of proposing the point with these dual coordinates, but for a constant."""
    terms = jax.tree.map(
        lambda y, j, m, v: jnp.sum(jnp.log(j) - jnp.log(v) / 2 - (y - m) ** 2 / (4 * step * v)),
        *(dual, jacobian, mean, variance),
    )
    return jnp.asarray(sum(jax.tree.leaves(terms), 0.0))
