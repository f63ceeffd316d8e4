"""Mirror Langevin Monte Carlo, corrected by Metropolis's rule."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PRNGKeyArray, PyTree, Scalar

from frechet.convex.hypentropy import Hypentropy
from frechet.convex.legendre import Legendre
from frechet.core import tree
from frechet.problems.density import Density
from frechet.solvers.sampling.langevin import positive_or_none
from frechet.solvers.sampling.metropolis import MetropolisLangevin, Visited
from frechet.solvers.sampling.mirrored import relative


class MetropolisMirrorLangevin(MetropolisLangevin):
    r"""The Metropolis-adjusted mirror Langevin algorithm (MAMLA), unbiased on constrained sets.

    A step of mirror Langevin Monte Carlo is a proposal,

    $$\nabla\varphi(x') = \nabla\varphi(x) - \gamma\nabla f(x)
      + \sqrt{2\gamma}\,\nabla^2\varphi(x)^{1/2}\xi,$$

    which stays in the domain of $\varphi$ by construction, so with the barrier of a box a density truncated
    to it is drawn from exactly. It is accepted with the probability that makes $e^{-f-g}$ stationary. A move
    costs a value and a gradient, whether it is accepted or not.

    Args:
        mirror: $\varphi$; its domain is where chains live and has to hold the start.
        step_size: $\gamma$; None begins with $d^{-1/3}/L$ in $d$ dimensions, $L$ being the largest curvature
            of $f$ relative to $\varphi$ where a chain starts, or that of 1 where $f$ is flat, and follows the
            acceptance to 57.4 %, by changes that fade.

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

    def __init__(self, mirror: Legendre | None = None, step_size: Any = None):
        self.mirror = Hypentropy() if mirror is None else mirror
        self.step_size = positive_or_none(step_size)

    def look(self, problem: Density, x: PyTree[Array]) -> tuple[Scalar, PyTree[Array], dict[str, int]]:
        return *problem.potential_and_gradient(x), {"value": 1, "gradient": 1}

    def begin(
        self, problem: Density, position: PyTree[Array], curvature: Any
    ) -> tuple[Visited, dict[str, Any]]:
        return super().begin(problem, position, relative(curvature, self.mirror, position))

    def proposed(
        self, x: PyTree[Array], down: PyTree[Array], step: Scalar, key: PRNGKeyArray
    ) -> PyTree[Array]:
        noise, scale = optax.tree.random_like(key, x), jnp.sqrt(2 * step)
        dual = jax.tree.map(
            lambda y, h, xi: (y + scale * jnp.sqrt(h) * xi).astype(y.dtype),
            *(self._mean(x, down, step), self.mirror.curvature(x), noise),
        )
        return self.mirror.inverse(dual)

    def log_proposal(
        self, ahead: PyTree[Array], x: PyTree[Array], down: PyTree[Array], step: Scalar
    ) -> Scalar:
        # Gaussian in dual coordinates, whose Jacobian is the curvature at the proposal.
        terms = jax.tree.map(
            lambda y, j, m, v: jnp.sum(jnp.log(j) - jnp.log(v) / 2 - (y - m) ** 2 / (4 * step * v)),
            *(self.mirror.mirror(ahead), self.mirror.curvature(ahead)),
            *(self._mean(x, down, step), self.mirror.curvature(x)),
        )
        return jnp.asarray(sum(jax.tree.leaves(terms), 0.0))

    def _mean(self, x: PyTree[Array], down: PyTree[Array], step: Scalar) -> PyTree[Array]:
        """Of the next point's dual coordinates."""
        return tree.axpy(-step, down, self.mirror.mirror(x))
