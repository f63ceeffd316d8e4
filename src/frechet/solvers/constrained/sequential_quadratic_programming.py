"""Sequential quadratic programming."""

from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solve import solve
from frechet.core.solver import Solver, State
from frechet.core.status import Ending
from frechet.problems.constrained import Constrained, KKTPoint
from frechet.problems.quadratic_program import QuadraticProgram
from frechet.solvers.constrained.convexified import FACTORISATIONS, convexified
from frechet.solvers.constrained.corrected_search import corrected_search
from frechet.solvers.constrained.dense_model import Form
from frechet.solvers.quadratic.interior_point import QuadraticInteriorPoint

MOST_QUADRATIC_STEPS = 60


class SQPState(State):
    r"""``primal`` is the iterate inside the bounds, ``value`` its $f$.

    ``penalty`` is $\gamma$, ``weight`` is $\sigma$, and ``missed`` whether the last linearised
    constraints could not be met at a price of $\gamma$.
    """

    primal: Float[Array, " n"]
    value: Scalar
    penalty: Scalar
    weight: Scalar
    missed: Bool[Array, ""]
    hopeless: Bool[Array, ""]


class SQP(Solver):
    r"""Sequential quadratic programming for moderate sizes; nonconvex problems too, to a local solution.

    The direction solves the quadratic model of the Lagrangian on linearised constraints, which may be missed
    at a price (elastic mode, so that there is always a solution),

    $$\min_d\; \nabla f^\top d + \tfrac12 d^\top B d + \gamma\|h + J_h d\|_1 + \gamma\|(c + J_c d)_+\|_1,
      \qquad l \le x + d \le u,$$

    by `QuadraticInteriorPoint`. $B$ is the exact Hessian of the Lagrangian, made positive definite without
    changing the step on active constraints (see `convexified`); so convergence is quadratic where the Hessian
    is positive definite on the active constraints' null space. Step lengths $1, \tfrac12, \dots$ are tried
    until the merit function $f + \sigma(\|h\|_1 + \|c_+\|_1)$ falls, with $\sigma$ a little above the largest
    multiplier; a second-order correction answers the first rejection. $\gamma$ rises tenfold where the price
    was paid. At $\gamma = \varepsilon^{-2/5}$ a point where no direction lessens the linearised violation
    ends the solve infeasible; it is stationary for the violation in the $\ell_1$ norm.

    A step costs a gradient, a Jacobian of the constraints, a product with the Lagrangian's Hessian for each
    unknown, the factorisations of the quadratic program and three more, and a value for each length tried.
    Derivatives: implicit, not unrolled.

    Args:
        penalty: the first $\gamma$.

    Source:
        Nocedal, Wright 2006, Numerical Optimization, chapter 18; Fletcher 1982, Second order corrections for
        non-differentiable optimization; Gill, Murray, Saunders 2005, SNOPT (elastic mode).

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.Constrained(lambda x: x.sum(), ineq=lambda x: x @ x - 2.0)
        >>> point = fr.solve(problem, jnp.array([0.3, -0.5]), SQP()).x
        >>> point.primal.round(2).tolist(), round(float(point.dual_ineq), 2)
        ([-1.0, -1.0], 0.5)
    """

    accepts: ClassVar[type] = Constrained
    needs: ClassVar[frozenset[str]] = frozenset({"bounds"})
    check_every: ClassVar[int] = 1
    penalty: Any = 10.0

    def init(self, problem: Constrained, x0: KKTPoint, *, key: PRNGKeyArray) -> SQPState:
        form = Form.of(x0)
        lower, upper = form.bounds(problem)
        x = jnp.clip(form.vectors(x0)[0], lower, upper)
        return SQPState(
            x=x0,
            calls=Calls().add(value=1),
            primal=x,
            value=form.value(problem, x),
            penalty=jnp.asarray(self.penalty, x.dtype),
            weight=jnp.asarray(self.penalty, x.dtype),
            missed=jnp.asarray(False),
            hopeless=jnp.asarray(False),
        )

    def step(self, problem: Constrained, state: SQPState, *, key: PRNGKeyArray) -> SQPState:
        form, x = Form.of(state.x), state.primal
        _, w = form.vectors(state.x)
        equation = jnp.arange(w.size) < form.equations
        lower, upper = form.bounds(problem)
        gradient, r, J = form.linearised(problem, x)
        H = form.hessian(problem, x, w)

        slope = gradient + w @ J
        residual = jnp.concatenate(
            [x - jnp.clip(x - slope, lower, upper), jnp.where(equation, r, jnp.minimum(w, -r))]
        )
        pressed = (x - slope <= lower) | (x - slope >= upper)
        room = jnp.where(x - slope <= lower, x - lower, x - upper)
        B, b = convexified(
            H,
            jnp.concatenate([J, jnp.eye(x.size, dtype=x.dtype)]),
            jnp.concatenate([r, jnp.where(pressed, room, 0)]),
            # Constraints that cannot be met tell nothing of where a step will end.
            jnp.concatenate([equation | (w + r > 0), pressed]) & ~state.missed,
        )
        quadratic = _Elastic(B, gradient + b, J, r, lower - x, upper - x, state.penalty, form.equations)
        # As good as a quadratically convergent method can use, and as rounding allows.
        eps = float(jnp.finfo(x.dtype).eps)
        noise = 10 * eps * (1 + jnp.linalg.norm(gradient))
        tol = jnp.clip(0.01 * jnp.sum(residual**2), noise, jnp.maximum(0.01, noise))
        d, multipliers, solved, factorisations = quadratic.solved(tol)

        def violation(r: Array) -> Scalar:
            return jnp.sum(jnp.where(equation, jnp.abs(r), jnp.maximum(r, 0)))

        before, promised = violation(r), violation(r + J @ d)
        gain = before - promised
        bend = jnp.maximum(d @ H @ d, 0)
        # What the merit function needs for d to be a descent.
        counts = gain > 10 * tol  # what is less comes from the accuracy of the quadratic program
        enough = (gradient @ d + 0.5 * bend) / (0.7 * jnp.where(counts, gain, 1))
        cap = jnp.maximum(state.penalty, eps**-0.4)
        # A weight far above the multipliers would hold the iterates to the constraints' curves.
        size = 1.1 * jnp.max(jnp.abs(multipliers), initial=0.0)
        weight = jnp.maximum(size, 0.5 * (state.weight + size))
        weight = jnp.where(counts, jnp.clip(enough, weight, jnp.maximum(cap, weight)), weight)

        def merit(value: Scalar, r: Array, x: Array) -> Scalar:
            return value + weight * violation(r)

        def corrected(ahead: Array, t: Scalar) -> Array:
            active = equation | (multipliers > 0)
            bent = jnp.where(active, ahead - r - t * (J @ d), 0)
            back = jnp.linalg.lstsq(jnp.where(active[:, None], J, 0), bent)[0] if r.size else 0
            return jnp.clip(x + d - back, lower, upper) - x

        found = corrected_search(
            lambda x: (form.value(problem, x), form.rows(problem, x)),
            merit,
            corrected,
            x,
            d,
            jnp.ones_like(state.value),
            merit(state.value, r, x),
            jnp.minimum(gradient @ d - weight * gain, 0),
        )
        ahead = jnp.clip(jnp.where(found.accepted, found.x, x), lower, upper)
        # What is not finite in the data or at the start has to show; a step that is not is none.
        ahead = jnp.where(tree.all_finite((state.value, gradient, r, J, H)), ahead, jnp.nan)
        multipliers = jnp.where(tree.all_finite(multipliers), multipliers, w)
        missed = promised > 0.1 * before + 10 * tol
        stuck = missed & (gain <= 1e-3 * before) & (before > eps ** (1 / 3))
        raised = jnp.minimum(10 * state.penalty, cap)
        return SQPState(
            x=form.point(ahead, multipliers),
            calls=state.calls.add(
                value=found.trials,
                gradient=1,
                jacobian=1 if r.size else 0,
                hvp=x.size,
                factorisation=factorisations + FACTORISATIONS + (found.trials > 1),
            ),
            primal=ahead,
            value=jnp.where(found.accepted, found.value, state.value),
            penalty=jnp.where(missed, raised, state.penalty),
            weight=jnp.where(jnp.isfinite(weight), weight, state.weight),
            missed=missed,
            hopeless=stuck & solved & (state.penalty >= cap),
        )

    def diagnosis(self, problem: Constrained, state: SQPState) -> Int[Array, ""]:
        return jnp.where(state.hopeless, Ending.INFEASIBLE, Ending.RUNNING).astype(jnp.int32)


class _Elastic(NamedTuple):
    """The quadratic program of a step; the first ``equations`` rows are equations."""

    B: Array
    slope: Array
    J: Array
    r: Array
    lower: Array
    upper: Array
    penalty: Scalar
    equations: int

    def solved(self, tol: Scalar) -> tuple[Array, Array, Bool[Array, ""], Int[Array, ""]]:
        """The direction, the rows' multipliers, whether they are good, and the factorisations it took."""
        n, e = self.slope.size, self.equations
        dtype, k = self.slope.dtype, self.J.shape[0] - self.equations
        # Unknowns: the direction, what equations lack and exceed, what inequalities exceed.
        slacks = 2 * e + k
        P = jnp.zeros((n + slacks, n + slacks), dtype).at[:n, :n].set(self.B)
        one = lambda size: jnp.eye(size, dtype=dtype)  # noqa: E731
        A = jnp.concatenate([self.J[:e], -one(e), one(e), jnp.zeros((e, k), dtype)], axis=1)
        G = jnp.concatenate([self.J[e:], jnp.zeros((k, 2 * e), dtype), -one(k)], axis=1)
        free = jnp.full(slacks, jnp.inf, dtype)
        problem = QuadraticProgram(
            P=P,
            q=jnp.concatenate([self.slope, jnp.full(slacks, 1, dtype) * self.penalty]),
            **({"A": A, "b": -self.r[:e]} if e else {}),
            **({"G": G, "h": -self.r[e:]} if k else {}),
            lower=jnp.concatenate([self.lower, jnp.zeros(slacks, dtype)]),
            upper=jnp.concatenate([self.upper, free]),
        )
        start = problem.start(jnp.zeros(n + slacks, dtype))
        solution = solve(
            problem,
            start,
            QuadraticInteriorPoint(),
            tol=tol,
            max_steps=MOST_QUADRATIC_STEPS,
            differentiate="none",
        )
        duals = [v for v in (solution.x.dual_eq, solution.x.dual_ineq) if v is not None]
        multipliers = jnp.concatenate([jnp.zeros(0, dtype), *duals])
        d = jnp.clip(solution.x.primal[:n], self.lower, self.upper)
        # Multipliers as large as the penalty leave a residual of their own size's rounding.
        good = solution.residual <= 1e-6 * self.penalty + tol
        return d, multipliers, good, solution.calls.factorisation
