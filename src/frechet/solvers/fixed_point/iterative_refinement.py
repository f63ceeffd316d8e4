"""Iterative refinement: residuals in full precision, corrections in less."""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.equations import Root


class IterativeRefinementState(State):
    """``factors`` are the arrays of the linear solver's factorisation, ``residual`` is $F(x)$."""

    factors: list[Array]
    residual: Float[Array, " n"]


class IterativeRefinement(Solver):
    r"""Corrects a solution by a linear solve of low precision, for linear and mildly nonlinear equations.

    $$x_{k+1} = x_k - \bar A^{-1} F(x_k)$$

    $\bar A$ is the Jacobian of $F$ at the start (or an ``approximation``), factorised once and in low
    precision; $F$ is evaluated in that of ``x``. A linear system is ``Root(lambda x: A @ x - b)``: float32
    factors with float64 residuals give float64 accuracy, an error of $\kappa(A)\,\epsilon_{32}$ times the
    last at each step, as long as that is below one. The start costs a value, a Jacobian (as many products as
    unknowns) and a factorisation, a step one value.

    Args:
        solver: a Lineax solver of square systems.
        precision: the dtype of the factorisation.
        approximation: a matrix $\bar A$, shape (n, n), in place of the Jacobian, such as that of a
            simpler model; it then costs no Jacobian. Or $\bar A^{-1}$ itself, a callable from a residual like
            ``x`` to a correction, such as a few steps of an iterative solver; it then costs no
            factorisation either, and the solver and its precision are not used.

    Source:
        Wilkinson 1963, Rounding Errors in Algebraic Processes; Moler 1967, Iterative refinement in floating
        point; Carson, Higham 2018, Accelerating the solution of linear systems by iterative refinement in
        three precisions.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> A, b = jnp.array([[2.0, 1.0], [1.0, 3.0]]), jnp.array([3.0, 5.0])
        >>> solution = fr.solve(fr.Root(lambda x: A @ x - b), jnp.zeros(2), IterativeRefinement(), tol=1e-5)
        >>> solution.x.round(4).tolist()
        [0.7999999523162842, 1.399999976158142]
    """

    accepts: ClassVar[type] = Root
    check_every: ClassVar[int] = 1
    solver: lx.AbstractLinearSolver = eqx.field(default_factory=lx.LU, static=True)
    precision: Any = eqx.field(default=jnp.float32, static=True, converter=jnp.dtype)
    approximation: Array | Callable[[PyTree[Array]], PyTree[Array]] | None = None

    def init(self, problem: Root, x0: PyTree[Array], *, key: PRNGKeyArray) -> IterativeRefinementState:
        x, unravel = ravel_pytree(x0)
        F = lambda v: ravel_pytree(problem.optimality(unravel(v)))[0]  # noqa: E731
        calls = Calls().add(value=1)
        if self.approximation is None:
            residual, push = jax.linearize(F, x)
            matrix = jax.vmap(push, out_axes=1)(jnp.eye(x.size, dtype=x.dtype))
            calls = calls.add(hvp=x.size)
        else:
            residual, matrix = F(x), self.approximation
        if callable(matrix):
            return IterativeRefinementState(x0, calls, [], residual)
        factors = self._factorised(jnp.asarray(matrix))[0]
        return IterativeRefinementState(x0, calls.add(factorisation=1), factors, residual)

    def _factorised(self, matrix: Array) -> tuple[list[Array], Any]:
        """The linear solver's arrays for a matrix, and what of its state is static."""
        operator = lx.MatrixLinearOperator(matrix.astype(self._low(matrix)))
        arrays, rest = eqx.partition(self.solver.init(operator, {}), eqx.is_array)
        leaves, treedef = jax.tree.flatten(arrays)
        return leaves, (treedef, rest)

    def _low(self, like: Array) -> Any:
        """The precision to factorise in: never more than that of ``x``."""
        return min(self.precision, like.dtype, key=lambda d: jnp.finfo(d).bits)

    def step(
        self, problem: Root, state: IterativeRefinementState, *, key: PRNGKeyArray
    ) -> IterativeRefinementState:
        x, unravel = ravel_pytree(state.x)
        # Scaled, so that what is small in x's precision is not lost in the lower one.
        size = jnp.max(jnp.abs(state.residual), initial=0.0)
        size = jnp.where(size > 0, size, 1)
        scaled = state.residual / size
        if callable(self.approximation):
            correction = ravel_pytree(self.approximation(unravel(scaled)))[0]
        else:
            correction = self._solved(state.factors, scaled)
        ahead = unravel(x - size * correction.astype(x.dtype))
        residual = ravel_pytree(problem.optimality(ahead))[0]
        return IterativeRefinementState(ahead, state.calls.add(value=1), state.factors, residual)

    def _solved(self, leaves: list[Array], right: Array) -> Array:
        """The solution for one right-hand side."""
        low = self._low(right)
        # For the static part alone; nothing of it is computed.
        static: list = []
        blank = jnp.zeros((right.size, right.size), low)
        jax.eval_shape(lambda m: static.append(self._factorised(m)[1]), blank)
        treedef, rest = static[0]
        factors = eqx.combine(jax.tree.unflatten(treedef, leaves), rest)
        return self.solver.compute(factors, right.astype(low), {})[0]
