"""Quadratic programs over pytrees as native ones, and what the classes that solve them share."""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree, Scalar

from frechet.compat.jaxopt.base import KKTSolution, OptStep, Solver, run_compiled, unwrapped
from frechet.compat.jaxopt.linear_operator import linear_operator
from frechet.convex.parameters import known
from frechet.core.solve import solve
from frechet.core.solver import Solver as NativeSolver
from frechet.core.status import Ending, Status
from frechet.problems.quadratic_program import QuadraticProgram


class Program(NamedTuple):
    """A native program with the forms, zeros, of the pytrees that its vectors were.

    Attributes:
        native: the program over raveled pytrees.
        x: form of the primal point.
        eq: form of the equations' multipliers; None where there are none.
        ineq: form of the inequalities' multipliers, likewise.
    """

    native: QuadraticProgram
    x: PyTree[Array]
    eq: PyTree[Array] = None
    ineq: PyTree[Array] = None

    def ravel(self, params: KKTSolution) -> KKTSolution:
        """A `KKTSolution` of pytrees as one of vectors; left out multipliers are zero."""
        parts = zip(self[1:], params, strict=True)
        return KKTSolution(*(None if form is None else raveled(form, v) for form, v in parts))

    def unravel(self, point: KKTSolution) -> KKTSolution:
        """A `KKTSolution` of vectors as one of pytrees."""
        parts = zip(self[1:], point, strict=True)
        return KKTSolution(*(None if form is None else ravel_pytree(form)[1](v) for form, v in parts))

    def start(self, x: Any) -> KKTSolution:
        """The point ``x``, zero for None, with multipliers zero."""
        return self.unravel(self.ravel(KKTSolution(x)))

    def optimality(self, params: KKTSolution) -> KKTSolution:
        """The native program's optimality map in these forms."""
        return self.unravel(self.native.optimality(self.ravel(params)))


def raveled(form: PyTree[Array], v: Any) -> Array:
    """``v``, or zeros for None, as a vector, its leaves in the shapes and dtypes of ``form``."""
    return ravel_pytree(form)[0] if v is None else ravel_pytree(like(form, v))[0]


def like(form: PyTree[Array], v: Any) -> PyTree[Array]:
    """``v`` in the shapes and dtypes of ``form``."""
    return jax.tree.map(lambda f, v: jnp.broadcast_to(jnp.asarray(v, f.dtype), f.shape), form, v)


def primal_form(fun: Callable | None, params_obj: Any, x: Any) -> PyTree[Array]:
    """What primal points are like: zeros like ``x`` or, where that is None, like the linear part.

    Raises:
        ValueError: neither says.
    """
    if x is None and fun is not None:
        raise ValueError("init_params must be provided when fun is not None: it says what x is like")
    leaves, structure = jax.tree.flatten(params_obj[1] if x is None else x)
    dtype = jnp.result_type(float, *leaves)
    return structure.unflatten([jnp.zeros(jnp.shape(v), dtype) for v in leaves])


def extract_Qc_from_obj(x: PyTree, params_obj: Any, fun: Callable | None) -> tuple[Any, Any]:
    """Parameters of the quadratic part, and the linear part.

    Args:
        x: like the primal point.
        params_obj: ``(params_Q, c)``, or ``fun``'s second argument.
        fun: the objective; None for one by matrices or products.

    Returns:
        ``params_Q, c``; with ``fun`` the first is ``(params_obj, c, constant)``.
    """
    if fun is None:
        params_Q, c = params_obj
        return params_Q, c
    constant, c = jax.value_and_grad(fun)(jax.tree.map(jnp.zeros_like, x), params_obj)
    return (params_obj, c, constant), c


def objective_parts(
    fun: Callable | None, matvec_Q: Callable | None, params_obj: Any, x: PyTree[Array]
) -> tuple[Array, Array]:
    """The matrix and the vector of the objective over raveled ``x``, the form of the primal point."""
    params_Q, c = extract_Qc_from_obj(x, params_obj, fun)
    if fun is None:
        return linear_operator(matvec_Q, params_Q).dense(x), raveled(x, c)
    flat, unravel = ravel_pytree(x)
    return jax.hessian(lambda v: fun(unravel(v), params_obj))(flat), raveled(x, c)


def rows(matvec: Callable | None, params: Any, x: PyTree[Array]) -> tuple[Array, PyTree[Array]]:
    """The matrix of a linear map over raveled ``x``, and the form of its values."""
    operator = linear_operator(matvec, params)
    dtype = jnp.result_type(*jax.tree.leaves(x))
    form = jax.tree.map(lambda s: jnp.zeros(s.shape, dtype), jax.eval_shape(operator, x))
    return operator.dense(x), form


def with_constraints(
    objective: tuple[Array, Array],
    x: PyTree[Array],
    equations: tuple[Callable | None, Any] | None,
    inequalities: tuple[Callable | None, Any] | None,
) -> Program:
    """The program of an objective and ``(matvec, (params, right-hand side))`` for either kind of rows."""
    forms: list = []
    given: dict[str, Array] = {}
    for names, constraints in (("Ab", equations), ("Gh", inequalities)):
        if constraints is None:
            forms.append(None)
            continue
        matvec, (params, right) = constraints
        matrix, form = rows(matvec, params, x)
        forms.append(form)
        given |= dict(zip(names, (matrix, raveled(form, right)), strict=True))
    return Program(QuadraticProgram(*objective, **given), x, *forms)


class QuadraticSolver(Solver):
    """One that runs a native solver to the end; its state is the native `Status`."""

    @abc.abstractmethod
    def program(self, init_params: Any, *args: Any, **kwargs: Any) -> Program:
        """The program that ``run``'s arguments pose."""

    @abc.abstractmethod
    def native(self) -> NativeSolver:
        """What solves it."""

    @abc.abstractmethod
    def limits(self, program: Program) -> tuple[Scalar | float, Scalar | float, int]:
        """The residual's norm aimed at, one that will do where rounding allows no less, and most steps."""

    def example_calls(self, init_params: Any, *args: Any, **kwargs: Any) -> dict[str, tuple[tuple, dict]]:
        """As in `IterativeSolver`."""
        return {}

    def optimality_fun(self, params: KKTSolution, *args: Any, **kwargs: Any) -> KKTSolution:
        return self.program(params, *args, **kwargs).optimality(params)

    def run(self, init_params: Any = None, *args: Any, **kwargs: Any) -> OptStep:
        """Solves the program; differentiable in the arguments.

        Raises:
            ValueError: shapes that do not fit; outside of ``jit`` also a program without a solution.
        """
        step = run_compiled(self, init_params, *args, **kwargs)
        if known(step.state.code):
            for ending in (Ending.INFEASIBLE, Ending.UNBOUNDED):
                if jnp.any(step.state.code == ending):
                    raise ValueError(f"The problem is {ending.name.lower()}.")
        return step

    def _loop(self, init_params: Any, args: tuple, kwargs: dict) -> OptStep:
        program = self.program(unwrapped(init_params), *args, **kwargs)
        start = program.ravel(KKTSolution(None) if init_params is None else unwrapped(init_params))
        tol, enough, most = self.limits(program)
        solution = solve(program.native, start, self.native(), tol=tol, max_steps=most)
        status = solution.status
        will_do = (status.code == Ending.STALLED) & (solution.residual <= enough)
        code = jnp.where(will_do, Ending.CONVERGED, status.code)
        return OptStep(program.unravel(solution.x), Status(code, status.origin))
