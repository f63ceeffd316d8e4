"""Functionals of a measure, minimised over the particles that stand for it."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, Bool, PyTree, Scalar

from frechet.convex.zero import Zero
from frechet.core import tree
from frechet.problems import leading_axis
from frechet.problems.composite import Composite
from frechet.problems.matching import wasserstein


class Particles(Composite):
    r"""Minimise a functional of a measure over $\mu_n = \frac1n\sum_{i=1}^n\delta_{w_i}$, over particles.

    $$\min_{w_1,\dots,w_n} F(w_1,\dots,w_n), \qquad F(w) = \mathcal F\Bigl(\frac1n\sum_i\delta_{w_i}\Bigr)$$

    The unknown is an array whose rows are the particles, or a pytree of arrays that share their leading
    axis. The optimality map is the field of velocities $n\,\partial F/\partial w_i$, the gradient of
    $\mathcal F$ in the Wasserstein geometry: a partial derivative has a factor $1/n$, a velocity does not.
    Where $F$ is not differentiable (coincident particles, particles at the points of a sample) it is a
    subgradient, which need not vanish at a solution.

    It is a smooth `Composite` of all particles together, so whatever solves those solves it too. Functionals
    ready to use are in `frechet.problems`: `InteractionEnergy`, `EnergyDistance`, `SquaredWasserstein`,
    `ZeroOneNetwork`.

    Args:
        f: the functional, a callable from particles to a scalar that does not depend on their order.
        minimiser: particles known to minimise it, as many; ``measures`` then have ``wasserstein``, the
            distance $W_2$ to them by an exact matching ($O(n\log n)$ on the line, $O(n^3)$ elsewhere).

    Raises:
        TypeError: ``f`` is not callable.
        ValueError: a start whose leaves do not share their leading axis, or that has no particle.

    Source:
        Daneshmand, Lee, Jin 2023, Efficient displacement convex optimization with particle gradient descent,
        ICML, arXiv 2302.04753.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> w = jnp.array([[0.0], [4.0]])
        >>> problem = fr.Particles(lambda w: 0.5 * jnp.mean(w**2), minimiser=jnp.zeros((2, 1)))
        >>> problem.gradient(w).tolist(), problem.optimality(w).tolist()
        ([[0.0], [2.0]], [[0.0], [4.0]])
        >>> round(float(problem.measures(w)["wasserstein"]), 4)
        2.8284
    """

    minimiser: PyTree[Array] | None = None

    def __init__(self, f: Callable[[PyTree[Array]], Scalar], minimiser: PyTree[Array] | None = None):
        self.f, self.g = f, Zero()
        self.minimiser = minimiser

    def optimality(self, x: PyTree[Array]) -> PyTree[Array]:
        n = leading_axis.length(x)
        return jax.tree.map(lambda v: n * v, super().optimality(x))

    def symmetric_parts(self, x: PyTree[Array]) -> tuple[Callable, Callable]:
        D, H = super().symmetric_parts(x)
        n = leading_axis.length(x)
        return D, lambda v: jax.tree.map(lambda u: n * u, H(v))

    def measures(self, x: PyTree[Array]) -> dict[str, Scalar]:
        return {} if self.minimiser is None else {"wasserstein": wasserstein(x, self.minimiser)}

    def start(self, x0: Any) -> PyTree[Array]:
        if self._count(x0) == 0:
            raise ValueError("there has to be at least one particle, got a leading axis of length 0")
        if self.minimiser is not None:
            tree.require_like(x0, self.minimiser, "minimiser")
        return x0

    def lifted(self, x: PyTree[Array]) -> "Composite":
        self._count(x)
        return super().lifted(x)

    def sound(self) -> Bool[Array, ""]:
        return super().sound() & tree.all_finite(self.minimiser)

    def default_solver(self) -> str:
        return "frechet.solvers.particles.particle_gradient_descent:ParticleGradientDescent"

    def _count(self, x: PyTree[Array]) -> int:
        try:
            return leading_axis.length(x)
        except ValueError as error:
            shapes = [v.shape for v in jax.tree.leaves(x)]
            raise ValueError(
                f"particles are rows: the leaves of x0 share their leading axis, got shapes {shapes}"
            ) from error
