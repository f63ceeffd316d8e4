"""Gradient descent with a constant step or backtracking."""

from typing import Any, ClassVar

import equinox as eqx
from jaxtyping import Array, PRNGKeyArray, PyTree

from frechet.core.solver import Solver
from frechet.problems.composite import Composite
from frechet.solvers.proximal import forward_backward
from frechet.solvers.proximal.forward_backward import ForwardBackwardState
from frechet.solvers.proximal.step_size import constant_or_none


class GradientDescent(Solver):
    r"""Gradient descent, $x_{k+1} = x_k - s\nabla f(x_k)$.

    With an $L$-Lipschitz gradient and $s = 1/L$: for convex $f$ the gap is at most
    $L\|x_0 - x^*\|^2/(4k + 2)$; with modulus $\mu$ of strong convexity (or the Polyak-Łojasiewicz
    inequality) it shrinks by $1 - \mu/L$ a step; for any $f$ the smallest squared gradient is at most
    $2L(f(x_0) - \inf f)/k$. Backtracking asks for $f(x_{k+1}) \le f(x_k) - \tfrac s2\|\nabla f(x_k)\|^2$.
    A step costs one gradient and, for every step size tried, one value; a constant step no value.

    Every differentiation mode works; step sizes count as constants.

    Args:
        step_size: a constant step size, below $2/L$; None finds step sizes by backtracking and growth.

    Source:
        Cauchy 1847, Méthode générale pour la résolution des systèmes d'équations simultanées; Armijo 1966,
        Minimization of functions having Lipschitz continuous first partial derivatives; Drori, Teboulle 2014,
        Performance of first-order methods for smooth convex minimization, arXiv 1206.3209 (the gap).

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.Composite(lambda x: 0.5 * jnp.sum((x - 2.0) ** 2))
        >>> fr.solve(problem, jnp.zeros(2), GradientDescent(), tol=1e-5).x.round(2).tolist()
        [2.0, 2.0]
    """

    accepts: ClassVar[type] = Composite
    needs: ClassVar[frozenset[str]] = frozenset({"smooth"})
    step_size: Any = eqx.field(default=None, converter=constant_or_none)

    def init(self, problem: Composite, x0: PyTree[Array], *, key: PRNGKeyArray) -> ForwardBackwardState:
        return forward_backward.start(problem, x0, self.step_size)

    def step(
        self, problem: Composite, state: ForwardBackwardState, *, key: PRNGKeyArray
    ) -> ForwardBackwardState:
        return forward_backward.advance(problem, state, self.step_size, lambda problem, z, s: z)[0]
