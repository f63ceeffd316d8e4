"""The proximal gradient method, also called forward-backward splitting or ISTA."""

from typing import Any, ClassVar

import equinox as eqx
from jaxtyping import Array, PRNGKeyArray, PyTree

from frechet.core.solver import Solver
from frechet.problems.composite import Composite
from frechet.solvers.proximal import forward_backward
from frechet.solvers.proximal.forward_backward import ForwardBackwardState
from frechet.solvers.proximal.step_size import constant_or_none


class ProximalGradient(Solver):
    r"""Proximal gradient for $f + g$.

    $$x_{k+1} = \mathrm{prox}_{s g}(x_k - s\nabla f(x_k))$$

    For convex $f$ with an $L$-Lipschitz gradient and $s = 1/L$ the objective's gap is at most
    $L\|x_0 - x^*\|^2 / (2k)$; with modulus $\mu$ of strong convexity the distance shrinks by $1 - \mu/L$ a
    step. With a convex set's indicator for $g$ this is the projected gradient method. A step costs one
    gradient and, for every step size tried, one value and one prox; a constant step no value.

    Every differentiation mode works; step sizes count as constants.

    Args:
        step_size: a constant step size, at most $1/L$; None finds step sizes by backtracking and growth.

    Source:
        Lions, Mercier 1979, Splitting algorithms for the sum of two nonlinear operators; Beck, Teboulle
        2009, A fast iterative shrinkage-thresholding algorithm for linear inverse problems.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.Composite(lambda x: 0.5 * jnp.sum((x - 3.0) ** 2), fr.convex.L1(1.0))
        >>> fr.solve(problem, jnp.zeros(2), ProximalGradient(), tol=1e-5).x.round(3).tolist()
        [2.0, 2.0]
    """

    accepts: ClassVar[type] = Composite
    step_size: Any = eqx.field(default=None, converter=constant_or_none)

    def init(self, problem: Composite, x0: PyTree[Array], *, key: PRNGKeyArray) -> ForwardBackwardState:
        return forward_backward.start(problem, x0, self.step_size)

    def step(
        self, problem: Composite, state: ForwardBackwardState, *, key: PRNGKeyArray
    ) -> ForwardBackwardState:
        # By the problem's own method, which a kind may override.
        backward = lambda problem, z, s: problem.prox(z, s)  # noqa: E731
        ahead, n = forward_backward.advance(problem, state, self.step_size, backward)
        return eqx.tree_at(lambda s: s.calls, ahead, ahead.calls.add(prox=n))
