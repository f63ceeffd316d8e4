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
from frechet.solvers.sampling.sampler import Sampler


class _Seen(NamedTuple):
    """``f + g`` and the gradient of ``f`` where a chain is."""

    potential: Scalar
    gradient: PyTree[Array]


class MetropolisMirrorLangevin(Sampler):
    r"""The Metropolis-adjusted mirror Langevin algorithm (MAMLA), unbiased on constrained sets.

    A step of mirror Langevin Monte Carlo is a proposal,

    $$\nabla\varphi(x') = \nabla\varphi(x) - \gamma\nabla f(x)
      + \sqrt{2\gamma}\,\nabla^2\varphi(x)^{1/2}\xi,$$

    which stays in the domain of $\varphi$ by construction, so with the barrier of a box a density truncated
    to it is drawn from exactly. It is accepted with the probability that makes $e^{-f-g}$ stationary. A move
    costs a value and a gradient, whether it is accepted or not.

    Args:
        mirror: $\varphi$; its domain is where chains live and has to hold the start.
        step_size: $\gamma$.

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

    mirror: Legendre = eqx.field(default_factory=Hypentropy)
    step_size: Any = 0.1

    def prepare(
        self, problem: Density, position: PyTree[Array], key: PRNGKeyArray
    ) -> tuple[_Seen, dict[str, Any]]:
        return _Seen(*problem.potential_and_gradient(position)), {"value": 1, "gradient": 1}

    def move(
        self, problem: Density, position: PyTree[Array], memory: _Seen, key: PRNGKeyArray
    ) -> tuple[PyTree[Array], _Seen, dict[str, Any]]:
        draw, decide = jax.random.split(key)
        mean, curvature = self._proposal(position, memory.gradient)
        noise = optax.tree.random_like(draw, position)
        scale = jnp.sqrt(2 * self.step_size)
        dual = jax.tree.map(
            lambda y, h, xi: (y + scale * jnp.sqrt(h) * xi).astype(y.dtype), *(mean, curvature, noise)
        )
        ahead = self.mirror.inverse(dual)
        seen = _Seen(*problem.potential_and_gradient(ahead))
        forward = self._log_density(dual, self.mirror.curvature(ahead), mean, curvature)
        back = self._proposal(ahead, seen.gradient)
        backward = self._log_density(self.mirror.mirror(position), curvature, *back)
        ratio = memory.potential - seen.potential + backward - forward
        # NaN, as of a proposal that rounding has put onto the boundary, is no reason to go there.
        accepted = jnp.log(jax.random.uniform(decide, dtype=ratio.dtype)) < ratio
        moved, seen = tree.where(accepted, (ahead, seen), (position, memory))
        return moved, seen, {"value": 1, "gradient": 1}

    def _proposal(self, x: PyTree[Array], gradient: PyTree[Array]) -> tuple[PyTree[Array], PyTree[Array]]:
        """Mean and, but for 2 gamma, variance of the next point's dual coordinates."""
        return tree.axpy(-self.step_size, gradient, self.mirror.mirror(x)), self.mirror.curvature(x)

    def _log_density(
        self, dual: PyTree[Array], jacobian: PyTree[Array], mean: PyTree[Array], variance: PyTree[Array]
    ) -> Scalar:
        """Of proposing the point with these dual coordinates, but for a constant."""
        terms = jax.tree.map(
            lambda y, j, m, v: jnp.sum(jnp.log(j) - jnp.log(v) / 2 - (y - m) ** 2 / (4 * self.step_size * v)),
            *(dual, jacobian, mean, variance),
        )
        return jnp.asarray(sum(jax.tree.leaves(terms), 0.0))
