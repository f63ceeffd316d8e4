"""Iterative refinement: residuals in full precision, corrections in less."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PRNGKeyArray, PyTree

from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.equations import Root


class IterativeRefinementState(State):
    """``factors`` are the arrays of the linear solver's factorisation."""

    factors: list[Array]


class IterativeRefinement(Solver):
    r"""Corrects a solution by a linear solve of low precision, for linear and mildly nonlinear equations.

    $$x_{k+1} = x_k - \bar A^{-1} F(x_k)$$

    $\bar A$ is the Jacobian of $F$ at the start (or an ``approximation``), factorised once and in low
    precision; $F$ is evaluated in that of ``x``. A linear system is ``Root(lambda x: A @ x - b)``: float32
    factors with float64 residuals give float64 accuracy, an error of $\kappa(A)\,\epsilon_{32}$ times the
    last at each step, as long as that is below one. The start costs a Jacobian (as many products as unknowns)
    and a factorisation, a step one value.

    Args:
        solver: a Lineax solver of square systems.
        precision: the dtype of the factorisation.
        approximation: a matrix $\bar A$, shape (n, n), in place of the Jacobian, such as that of a
            simpler model; it then costs no Jacobian.

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
    approximation: Array | None = None

    def init(self, problem: Root, x0: PyTree[Array], *, key: PRNGKeyArray) -> IterativeRefinementState:
        x, unravel = ravel_pytree(x0)
        if self.approximation is None:
            push = jax.linearize(lambda v: ravel_pytree(problem.optimality(unravel(v)))[0], x)[1]
            matrix = jax.vmap(push, out_axes=1)(jnp.eye(x.size, dtype=x.dtype))
            calls = Calls().add(value=1, hvp=x.size, factorisation=1)
        else:
            matrix, calls = jnp.asarray(self.approximation), Calls().add(factorisation=1)
        return IterativeRefinementState(x0, calls, self._factorised(matrix)[0])

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
        residual = ravel_pytree(problem.optimality(state.x))[0]
        low = self._low(x)
        # For the static part alone; nothing of it is computed.
        static: list = []
        blank = jnp.zeros((x.size, x.size), low)
        jax.eval_shape(lambda m: static.append(self._factorised(m)[1]), blank)
        treedef, rest = static[0]
        factors = eqx.combine(jax.tree.unflatten(treedef, state.factors), rest)
        # Scaled, so that what is small in x's precision is not lost in the lower one.
        size = jnp.max(jnp.abs(residual), initial=0.0)
        size = jnp.where(size > 0, size, 1)
        correction, _, _ = self.solver.compute(factors, (residual / size).astype(low), {})
        ahead = x - size * correction.astype(x.dtype)
        return IterativeRefinementState(unravel(ahead), state.calls.add(value=1), state.factors)
