"""BoxOSQP and OSQP."""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from frechet.compat.jaxopt.base import (
    AutoOrBoolean,
    CompiledUpdate,
    IterativeSolver,
    KKTSolution,
    OptStep,
    run_compiled,
    unwrapped,
)
from frechet.compat.jaxopt.quadratic import (
    Program,
    extract_Qc_from_obj,  # noqa: F401  (a name of JAXopt's module)
    objective_parts,
    primal_form,
    raveled,
    rows,
    with_constraints,
)
from frechet.compat.jaxopt.settings import warn_of_unused
from frechet.convex.parameters import known
from frechet.core import tree
from frechet.core.status import Ending
from frechet.problems.quadratic_program import QuadraticProgram
from frechet.solvers.quadratic import admm


class BoxOSQPState(NamedTuple):
    """State of `BoxOSQP` and, under the name ``OSQPState``, of `OSQP`.

    Attributes:
        iter_num: iterations of ADMM so far.
        error: largest entry of the residual of the conditions of Karush, Kuhn and Tucker.
        status: ``BoxOSQP.UNSOLVED``, ``SOLVED``, ``PRIMAL_INFEASIBLE`` or ``DUAL_INFEASIBLE``.
        primal_residuals: of the equations, ``A x - z`` for `BoxOSQP`; None where there are none.
        dual_residuals: ``Q x + c`` with the constraints' multipliers applied.
        rho_bar: the penalty, of the equilibrated program.
        solver_state: the native state.
    """

    iter_num: Any
    error: Any
    status: Any
    primal_residuals: Any
    dual_residuals: Any
    rho_bar: Any
    solver_state: admm.QuadraticADMMState


OSQPState = BoxOSQPState


@dataclasses.dataclass(eq=False)
class _OSQP(CompiledUpdate):
    """What the two share: settings, and updates of 50 iterations and a polish each."""

    matvec_Q: Callable | None = None
    matvec_A: Callable | None = None
    fun: Callable | None = None
    check_primal_dual_infeasability: AutoOrBoolean = "auto"
    sigma: float = 1e-6
    momentum: float = 1.6
    eq_qp_solve: str = "cg"
    rho_start: float = 0.1
    rho_min: float = 1e-6
    rho_max: float = 1e6
    stepsize_updates_frequency: int = 10
    primal_infeasible_tol: float = 1e-3
    dual_infeasible_tol: float = 1e-3
    maxiter: int = 4000
    tol: float = 1e-3
    termination_check_frequency: int = 5
    verbose: bool | int = False
    implicit_diff: bool = True
    implicit_diff_solve: Callable | None = None
    jit: bool = True
    unroll: AutoOrBoolean = "auto"

    UNSOLVED: ClassVar[int] = 0
    SOLVED: ClassVar[int] = 1
    DUAL_INFEASIBLE: ClassVar[int] = 2
    PRIMAL_INFEASIBLE: ClassVar[int] = 3

    def __post_init__(self):
        if self.fun is not None and self.matvec_Q is not None:
            raise ValueError("fun is incompatible with matvec_Q: each of them states the objective; give one")
        if self.eq_qp_solve.lower() not in ("cg", "cg+jacobi", "lu"):
            raise ValueError(f'eq_qp_solve must be "cg", "cg+jacobi" or "lu", got {self.eq_qp_solve!r}')
        unused = ["sigma", "eq_qp_solve", "rho_min", "rho_max", "stepsize_updates_frequency"]
        unused += ["primal_infeasible_tol", "dual_infeasible_tol", "termination_check_frequency"]
        warn_of_unused(self, *unused)

    # The second argument and those after it have JAXopt's names, by which callers may pass them.

    def program(self, x: Any, params_obj: Any, params_eq: Any = None, params_ineq: Any = None) -> Program:
        """The program that the arguments pose; ``x`` is like the primal point or None."""
        raise NotImplementedError

    def primal(self, init_params: Any) -> Any:
        """The part of a solution, if it is there, that is called x."""
        return None if init_params is None else init_params.primal

    def example_calls(
        self, init_params: Any, params_obj: Any = None, params_eq: Any = None, params_ineq: Any = None
    ) -> dict[str, tuple[tuple, dict]]:
        x = primal_form(self.fun, params_obj, self.primal(init_params))
        if self.fun is not None:
            return {"fun": ((x, params_obj), {})}
        return {"matvec_Q": ((params_obj[0], x), {})}

    def init_params(
        self, init_x: Any, params_obj: Any, params_eq: Any = None, params_ineq: Any = None
    ) -> KKTSolution:
        """The solution to start from: ``init_x``, zero where that is None, and multipliers zero."""
        program = self.program(init_x, params_obj, params_eq, params_ineq)
        return program.start(init_x)

    def init_state(
        self, init_params: Any, params_obj: Any, params_eq: Any = None, params_ineq: Any = None
    ) -> BoxOSQPState:
        init_params = unwrapped(init_params)
        program = self.program(self.primal(init_params), params_obj, params_eq, params_ineq)
        inner = self._native().init(program.native, program.ravel(init_params), key=jax.random.key(0))
        state = self._shown(program, inner, jnp.asarray(0))
        unsolved = jnp.full_like(state.error, jnp.inf), jnp.full_like(state.status, self.UNSOLVED)
        return state._replace(error=unsolved[0], status=unsolved[1])

    def advance(
        self,
        params: KKTSolution,
        state: BoxOSQPState,
        params_obj: Any,
        params_eq: Any = None,
        params_ineq: Any = None,
    ) -> OptStep:
        program = self.program(self.primal(params), params_obj, params_eq, params_ineq)
        inner = eqx.tree_at(lambda s: s.x, state.solver_state, program.ravel(params))
        inner = self._native().step(program.native, inner, key=jax.random.key(0))
        shown = self._shown(program, inner, state.iter_num + admm.ITERATIONS)
        return OptStep(program.unravel(inner.x), shown)

    def unfinished(self, step: OptStep) -> Any:
        return step.state.status == self.UNSOLVED

    def optimality_fun(
        self, params: KKTSolution, params_obj: Any, params_eq: Any = None, params_ineq: Any = None
    ) -> KKTSolution:
        return self.program(self.primal(params), params_obj, params_eq, params_ineq).optimality(params)

    def run(
        self, init_params: Any = None, params_obj: Any = None, params_eq: Any = None, params_ineq: Any = None
    ) -> OptStep:
        """Solves the program; differentiable in the arguments after ``init_params``.

        Args:
            init_params: a `KKTSolution` to start from, which ``fun`` needs to say what the point is like.
            params_obj: ``(Q, c)``, ``(params_Q, c)`` with ``matvec_Q``, or ``fun``'s second argument.
            params_eq: see the class.
            params_ineq: see the class.

        Raises:
            ValueError: a program proved infeasible or unbounded, where ``jit`` is false.
        """
        step = run_compiled(self._with(jit=True), init_params, params_obj, params_eq, params_ineq)
        return self._checked(step)

    def update(self, params: KKTSolution, state: BoxOSQPState, *args: Any, **kwargs: Any) -> OptStep:
        # The native step is a JAX program whatever the user's functions are.
        return self._checked(CompiledUpdate.update(self._with(jit=True), params, state, *args, **kwargs))

    def _with(self, **settings: Any) -> Any:
        changed = copy.copy(self)
        vars(changed).update(settings)
        return changed

    def _checked(self, step: OptStep) -> OptStep:
        if not self.jit and known(step.state.status):
            for code, name in ((self.PRIMAL_INFEASIBLE, "Primal"), (self.DUAL_INFEASIBLE, "Dual")):
                if step.state.status == code:
                    raise ValueError(f"{name} infeasible.")
        return step

    def _loop(self, init_params: Any, args: tuple, kwargs: dict) -> OptStep:
        if init_params is None:
            init_params = self.init_params(None, *args, **kwargs)
        else:  # multipliers may have been left out
            program = self.program(self.primal(unwrapped(init_params)), *args, **kwargs)
            init_params = program.unravel(program.ravel(unwrapped(init_params)))
        rounds = self._with(maxiter=-(-self.maxiter // admm.ITERATIONS))
        return IterativeSolver._loop(rounds, init_params, args, kwargs)

    def _native(self) -> admm.QuadraticADMM:
        return admm.QuadraticADMM(self.rho_start, self.momentum)

    def _shown(self, program: Program, inner: admm.QuadraticADMMState, count: Array) -> BoxOSQPState:
        error = tree.largest(program.native.optimality(inner.x))
        status = jnp.where(error <= self.tol, self.SOLVED, self.UNSOLVED)
        if self.check_primal_dual_infeasability:
            diagnosis = self._native().diagnosis(program.native, inner)
            status = jnp.where(diagnosis == Ending.INFEASIBLE, self.PRIMAL_INFEASIBLE, status)
            status = jnp.where(diagnosis == Ending.UNBOUNDED, self.DUAL_INFEASIBLE, status)
        slope = program.native.lagrangian_gradient(inner.x)
        primal, equations, _ = program.unravel(
            KKTSolution(slope, program.native.equality(inner.x.primal), inner.x.dual_ineq)
        )
        return BoxOSQPState(
            count, error, status, equations, self.primal(KKTSolution(primal)), inner.penalty, inner
        )


class _BoxProgram(Program):
    """A program whose point is ``(x, z)`` with ``A x = z`` between limits.

    ``dual_ineq`` are the positive and negative parts of the equations' multipliers, which belong to the
    upper and lower limits.
    """

    def ravel(self, params: KKTSolution) -> KKTSolution:
        x, z = params.primal
        return super().ravel(KKTSolution((x, z), params.dual_eq))

    def unravel(self, point: KKTSolution) -> KKTSolution:
        primal, y, _ = super().unravel(point)
        return KKTSolution(primal, y, _parts(y))

    def start(self, x: Any) -> KKTSolution:
        form = self.x[0]
        matrix, _ = self.native.equations()
        assert matrix is not None
        at = jnp.zeros(matrix.shape[1], matrix.dtype).at[: -matrix.shape[0]].set(raveled(form, x))
        nearest = self.native.prox(at.at[-matrix.shape[0] :].set(matrix @ at), 1.0)
        return self.unravel(KKTSolution(nearest, raveled(self.eq, None)))

    def optimality(self, params: KKTSolution) -> KKTSolution:
        primal, y, _ = super().unravel(self.native.optimality(self.ravel(params)))
        return KKTSolution(primal, y, tree.subtract(params.dual_ineq, _parts(params.dual_eq)))


def _parts(y: PyTree[Array]) -> tuple[PyTree[Array], PyTree[Array]]:
    # Where y is zero, the upper one has its derivative and the lower one none.
    upper = jax.tree.map(lambda v: jnp.where(v >= 0, v, 0), y)
    return upper, jax.tree.map(lambda v: jnp.where(v >= 0, 0, -v), y)


@dataclasses.dataclass(eq=False)
class BoxOSQP(_OSQP):
    r"""Minimises $\tfrac12 x^\top Q x + c^\top x$ subject to $Ax = z$, $l \le z \le u$.

    ``run(init_params, params_obj, params_eq, params_ineq)`` with ``params_obj = (Q, c)``,
    ``params_eq = A`` and ``params_ineq = (l, u)``; solution and start are
    ``KKTSolution((x, z), y, (mu, phi))``. Over `frechet.solvers.QuadraticADMM`: matrices given by their
    products are made, the program is equilibrated, an update is 50 iterations of ADMM and a polish, and
    ``iter_num`` and ``maxiter`` count the iterations.

    Args:
        matvec_Q: ``matvec_Q(params_Q, x)``; by default ``Q`` is a matrix, or a pytree of matrices like ``x``.
        matvec_A: ``matvec_A(params_A, x)``; by default ``A`` is a matrix, or a pytree of matrices like ``x``.
        fun: instead of ``Q`` and ``c`` the objective ``fun(x, params_obj)``, a convex quadratic polynomial.
        check_primal_dual_infeasability: report infeasible and unbounded programs; "auto" does.
        sigma: unused.
        momentum: relaxation of ADMM, between 0 and 2.
        eq_qp_solve: unused: matrices are factorised.
        rho_start: first penalty.
        rho_min: unused.
        rho_max: unused.
        stepsize_updates_frequency: unused: the penalty is balanced every 50 iterations.
        primal_infeasible_tol: unused.
        dual_infeasible_tol: unused.
        maxiter: most iterations, rounded up to a multiple of 50.
        tol: for the largest entry of the residual.
        termination_check_frequency: unused: the error is computed every 50 iterations.
        verbose: print each update.
        implicit_diff: implicit derivatives, or those of the iterations, in forward mode only.
        implicit_diff_solve: linear solver ``solve(matvec, b)`` for implicit ones.
        jit: without it a program without solution raises; updates are compiled all the same.
        unroll: loops of fixed length; "auto" means where derivatives need them.
    """

    def primal(self, init_params: Any) -> Any:
        return None if init_params is None or init_params.primal is None else init_params.primal[0]

    def program(self, x: Any, params_obj: Any, params_eq: Any = None, params_ineq: Any = None) -> _BoxProgram:
        x = primal_form(self.fun, params_obj, x)
        Q, c = objective_parts(self.fun, self.matvec_Q, params_obj, x)
        A, z = rows(self.matvec_A, params_eq, x)
        m, n = A.shape
        free = jnp.full(n, jnp.inf, A.dtype)
        native = QuadraticProgram(
            jax.scipy.linalg.block_diag(Q, jnp.zeros((m, m), Q.dtype)),
            jnp.concatenate([c, jnp.zeros(m, c.dtype)]),
            jnp.concatenate([A, -jnp.eye(m, dtype=A.dtype)], axis=1),
            jnp.zeros(m, A.dtype),
            lower=jnp.concatenate([-free, raveled(z, params_ineq[0])]),
            upper=jnp.concatenate([free, raveled(z, params_ineq[1])]),
        )
        return _BoxProgram(native, (x, z), z)

    def example_calls(
        self, init_params: Any, params_obj: Any = None, params_eq: Any = None, params_ineq: Any = None
    ) -> dict[str, tuple[tuple, dict]]:
        x = primal_form(self.fun, params_obj, self.primal(init_params))
        return super().example_calls(init_params, params_obj) | {"matvec_A": ((params_eq, x), {})}


@dataclasses.dataclass(eq=False, kw_only=True)
class OSQP(_OSQP):
    r"""Minimises $\tfrac12 x^\top Q x + c^\top x$ subject to $Ax = b$, $Gx \le h$.

    ``run(init_params, params_obj, params_eq, params_ineq)`` with ``params_obj = (Q, c)``,
    ``params_eq = (A, b)`` or None and ``params_ineq = (G, h)`` or None; solution and start are
    ``KKTSolution(x, dual_eq, dual_ineq)``. Settings by keyword, those of `BoxOSQP` and one more.

    Args:
        matvec_G: ``matvec_G(params_G, x)``; by default ``G`` is a matrix, or a pytree of matrices like ``x``.
    """

    matvec_G: Callable | None = None

    def program(self, x: Any, params_obj: Any, params_eq: Any = None, params_ineq: Any = None) -> Program:
        x = primal_form(self.fun, params_obj, x)
        objective = objective_parts(self.fun, self.matvec_Q, params_obj, x)
        equations = None if params_eq is None else (self.matvec_A, params_eq)
        return with_constraints(
            objective, x, equations, None if params_ineq is None else (self.matvec_G, params_ineq)
        )

    def example_calls(
        self, init_params: Any, params_obj: Any = None, params_eq: Any = None, params_ineq: Any = None
    ) -> dict[str, tuple[tuple, dict]]:
        x = primal_form(self.fun, params_obj, self.primal(init_params))
        calls = super().example_calls(init_params, params_obj)
        for name, given in {"matvec_A": params_eq, "matvec_G": params_ineq}.items():
            if given is not None:
                calls[name] = (given[0], x), {}
        return calls
