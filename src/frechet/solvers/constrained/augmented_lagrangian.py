"""The augmented Lagrangian method around any solver without constraints."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray, PyTree, Scalar

from frechet.core import lift, tree
from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.core.status import Ending
from frechet.problems.constrained import Constrained, KKTPoint
from frechet.solvers.bounds.lbfgsb import LBFGSB
from frechet.solvers.constrained.augmented_problem import AugmentedProblem, infeasibility_slope, violation
from frechet.solvers.proximal.spectral_proximal_gradient import SpectralProximalGradient
from frechet.solvers.second_order.newton_cg import NewtonCG

CHECKS = 100


class AugmentedLagrangianState(State):
    """``x`` carries the updated multipliers; ``dual_eq``, ``dual_ineq`` and ``penalty`` are those in force.

    ``violation`` is the residual of the constraints at the last update, ``taken`` the inner steps since, and
    ``hopeless`` whether the last update saw the constraints' violation at a stationary point.
    """

    inner: State
    dual_eq: PyTree[Array]
    dual_ineq: PyTree[Array]
    penalty: Scalar
    violation: Scalar
    taken: Int[Array, ""]
    hopeless: Bool[Array, ""]


class AugmentedLagrangian(Solver):
    r"""Minimises the augmented Lagrangian by another solver, and moves multipliers and penalty.

    A step is a step of the inner solver on $L_\rho(\cdot, y, \lambda) + g$ (see `AugmentedProblem`). At each
    of the inner solver's residual checks, and where it no longer moves, the KKT residual is taken at the
    multipliers $y^+ = y + \rho h(x)$ and $\lambda^+ = (\lambda + \rho c(x))_+$, which the answer carries.
    They replace $y$ and $\lambda$ once the primal part of the residual is at most a tenth of that of the
    constraints, so the subproblems are solved no better than pays. $\rho$ is raised tenfold where the
    constraints' part did not halve since the last time, and lowered tenfold where $x$ no longer moves, the
    constraints hold up to rounding, and what rounding times $\rho$ adds to the multipliers is left.

    Where $\rho$ has reached its cap ($\varepsilon^{-3/4}$ for a dtype of precision $\varepsilon$) and $x$ is
    a stationary point of $\|h(x)\|^2 + \|c(x)_+\|^2$ that violates constraints, the solve ends infeasible,
    with that point.

    It costs what the inner steps cost, a gradient and a prox a check, and what the inner solver's ``init``
    costs at an update.

    Args:
        inner: a solver of `Composite` problems. When left out: `NewtonCG` where $g = 0$, `LBFGSB` where it is
            a box, else `SpectralProximalGradient`.
        penalty: the first $\rho$.

    Source:
        Conn, Gould, Toint 1991, A globally convergent augmented Lagrangian algorithm for optimization with
        general constraints and simple bounds; Birgin, Martínez 2014, Practical Augmented Lagrangian Methods
        for Constrained Optimization; Eckstein, Silva 2013, A practical relative error criterion for augmented
        Lagrangians.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.Constrained(lambda x: x.sum(), ineq=lambda x: x @ x - 2.0)
        >>> point = fr.solve(problem, jnp.array([0.3, -0.5]), AugmentedLagrangian()).x
        >>> point.primal.round(2).tolist(), round(float(point.dual_ineq), 2)
        ([-1.0, -1.0], 0.5)
    """

    accepts: ClassVar[type] = Constrained
    inner: Solver | None = None
    penalty: Any = 10.0

    def __check_init__(self):
        if self.inner is not None and not isinstance(self.inner, Solver):
            raise TypeError(f"inner must be a frechet Solver such as NewtonCG(), got {self.inner!r}")

    @property
    def check_every(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Steps between residual checks: the inner solver's."""
        return 1 if self.inner is None else self.inner.check_every

    def fits(self, problem: Any) -> str | None:
        reason = super().fits(problem)
        if reason is None and self.inner is not None:
            inside = self.inner.fits(AugmentedProblem(problem, None, None, jnp.ones(())))
            reason = (
                inside and f"minimises augmented Lagrangians by {type(self.inner).__name__}, which {inside}"
            )
        return reason

    def _solver(self, problem: Constrained) -> Solver:
        if self.inner is not None:
            return self.inner
        if problem.g.smooth:
            return NewtonCG()
        return LBFGSB() if problem.g.box else SpectralProximalGradient()

    def init(self, problem: Constrained, x0: KKTPoint, *, key: PRNGKeyArray) -> AugmentedLagrangianState:
        dtype = jnp.result_type(*jax.tree.leaves(x0.primal))
        penalty = jnp.asarray(self.penalty, dtype)
        dual_ineq = jax.tree.map(lambda m: jnp.maximum(m, 0), x0.dual_ineq)
        augmented = AugmentedProblem(problem, x0.dual_eq, dual_ineq, penalty)
        inner = self._solver(problem).init(augmented, x0.primal, key=key)
        return AugmentedLagrangianState(
            x=x0,
            calls=inner.calls,
            inner=inner,
            dual_eq=x0.dual_eq,
            dual_ineq=dual_ineq,
            penalty=penalty,
            violation=jnp.asarray(jnp.inf, dtype),
            taken=jnp.zeros((), int),
            hopeless=jnp.asarray(False),
        )

    def step(
        self, problem: Constrained, state: AugmentedLagrangianState, *, key: PRNGKeyArray
    ) -> AugmentedLagrangianState:
        solver = self._solver(problem)
        augmented = AugmentedProblem(problem, state.dual_eq, state.dual_ineq, state.penalty)
        inner = solver.step(augmented, state.inner, key=key)
        eps = jnp.finfo(state.penalty.dtype).eps
        moved = tree.largest(tree.subtract(inner.x, state.inner.x)) > eps * tree.largest(inner.x)
        ahead = lift.replaced(
            state,
            x=augmented.multipliers(inner.x),
            calls=_plus(state.calls, _minus(inner.calls, state.inner.calls)),
            inner=inner,
            taken=state.taken + 1,
        )
        due = (ahead.taken % solver.check_every == 0) | ~moved
        return jax.lax.cond(due, lambda s: self._reviewed(problem, solver, s, moved, key), lambda s: s, ahead)

    def _reviewed(
        self,
        problem: Constrained,
        solver: Solver,
        state: AugmentedLagrangianState,
        moved: Bool[Array, ""],
        key: PRNGKeyArray,
    ) -> AugmentedLagrangianState:
        """Whether the subproblem is solved well enough to move on."""
        residual = problem.optimality(state.x)
        state = lift.replaced(state, calls=state.calls.add(gradient=1, prox=1))
        slope, off = tree.norm(residual.primal), tree.norm((residual.dual_eq, residual.dual_ineq))
        off = off.astype(state.violation.dtype)
        spent = state.taken >= CHECKS * solver.check_every
        eps = jnp.finfo(off.dtype).eps
        exact = off <= 100 * eps * (1 + tree.largest(state.x.primal))
        # Where rounding is what keeps the residual up, another penalty would only spoil the conditioning.
        short = (off > 0.5 * state.violation) & ~exact & ((slope <= off) | spent)
        # It enters the multipliers times the penalty.
        noisy = exact & ~moved & (slope > off) & (state.penalty > 0.05 * self.penalty)
        penalty = jnp.where(short, self._raised(state.penalty), state.penalty / jnp.where(noisy, 10, 1))
        return jax.lax.cond(
            (slope <= 0.1 * off) | spent & ~exact | ~moved & (noisy | ~exact),
            lambda s: self._updated(problem, solver, s, off, penalty, key),
            lambda s: s,
            state,
        )

    def _raised(self, penalty: Scalar) -> Scalar:
        cap = _cap(penalty)
        return jnp.minimum(10 * penalty, jnp.maximum(penalty, cap))

    def _updated(
        self,
        problem: Constrained,
        solver: Solver,
        state: AugmentedLagrangianState,
        off: Scalar,
        penalty: Scalar,
        key: PRNGKeyArray,
    ) -> AugmentedLagrangianState:
        """New multipliers, a penalty that may be new, and the inner solver begun anew."""
        eps = float(jnp.finfo(off.dtype).eps)
        most = eps**-0.5
        capped = state.penalty >= _cap(state.penalty)
        penalty = penalty.astype(state.penalty.dtype)
        x = state.x.primal
        size = tree.norm(violation(problem, x))
        seems = capped & (size > eps ** (1 / 3))
        # Without multipliers the next subproblem is that of violating the constraints least.
        kept = lambda m: jnp.where(seems, 0, jnp.clip(m, -most, most))  # noqa: E731
        dual_eq, dual_ineq = jax.tree.map(kept, (state.x.dual_eq, state.x.dual_ineq))
        inner = solver.init(AugmentedProblem(problem, dual_eq, dual_ineq, penalty), x, key=key)
        calls = _plus(state.calls, inner.calls)
        slope = jax.lax.cond(seems, lambda: infeasibility_slope(problem, x), lambda: jnp.zeros_like(size))
        calls = calls.add(gradient=2 * seems)
        return AugmentedLagrangianState(
            x=state.x,
            calls=calls,
            inner=inner,
            dual_eq=dual_eq,
            dual_ineq=dual_ineq,
            penalty=penalty,
            violation=off,
            taken=jnp.zeros_like(state.taken),
            hopeless=seems & (slope <= 1e-2 * size),
        )

    def diagnosis(self, problem: Constrained, state: AugmentedLagrangianState) -> Int[Array, ""]:
        return jnp.where(state.hopeless, Ending.INFEASIBLE, Ending.RUNNING).astype(jnp.int32)


def _cap(penalty: Scalar) -> float:
    return float(jnp.finfo(penalty.dtype).eps) ** -0.75


def _plus(a: Calls, b: Calls) -> Calls:
    return Calls(a.counts + b.counts)


def _minus(a: Calls, b: Calls) -> Calls:
    return Calls(a.counts - b.counts)
