"""The compiled loop that `solve` and `run` share: steps, then the residual, until a reason to stop."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray, PyTree, Scalar

from frechet.core import tree
from frechet.core.problem import Problem
from frechet.core.solver import Solver, State
from frechet.core.status import Ending, Origin, Status


class Progress(NamedTuple):
    """Everything the loop carries.

    ``x`` is the last finite iterate (``state.x`` may be past it), ``steps`` the good steps so far.
    """

    state: State
    x: PyTree[Array]
    steps: Int[Array, ""]
    finite: Bool[Array, ""]


def begin(problem: Problem, x0: PyTree[Array], solver: Solver, key: PRNGKeyArray) -> Progress:
    """The carry before the first step."""
    state = solver.init(problem, x0, key=jax.random.split(key)[0] if _draws(problem, solver) else key)
    return Progress(state, x0, jnp.zeros((), int), jnp.asarray(True))


def one_step(
    problem: Problem, solver: Solver, p: Progress, key: PRNGKeyArray, end: Int[Array, ""] | int
) -> Progress:
    """One step, unless ``end`` steps are done or the last one was not finite: then nothing."""
    stepped = _step(problem, solver, p, _key_of_steps(problem, solver, key))
    return tree.where(p.finite & (p.steps < end), stepped, p)


def advance(
    problem: Problem, solver: Solver, progress: Progress, n: Int[Array, ""], key: PRNGKeyArray
) -> Progress:
    """At most ``n`` steps; stops before the first one whose iterate is not finite."""
    step_key = _key_of_steps(problem, solver, key)
    end = progress.steps + n
    return jax.lax.while_loop(
        lambda p: p.finite & (p.steps < end), lambda p: _step(problem, solver, p, step_key), progress
    )


def _step(problem: Problem, solver: Solver, p: Progress, key: PRNGKeyArray) -> Progress:
    # The key depends on the step's number alone, so where chunks begin and end changes nothing.
    state = solver.step(problem, p.state, key=_key_of_step(problem, solver, key, p.steps))
    finite = tree.all_finite(state.x)
    return Progress(state, tree.where(finite, state.x, p.x), p.steps + finite, finite)


def _draws(problem: Problem, solver: Solver) -> bool:
    """Whether steps draw: of a solver's own accord, or because the problem prescribes batches."""
    return solver.stochastic or not problem.testable


def _key_of_steps(problem: Problem, solver: Solver, key: PRNGKeyArray) -> PRNGKeyArray:
    return jax.random.split(key)[1] if _draws(problem, solver) else key


def _key_of_step(problem: Problem, solver: Solver, key: PRNGKeyArray, step: Int[Array, ""]) -> PRNGKeyArray:
    if _draws(problem, solver):
        return jax.random.fold_in(key, step)
    # Nothing should be drawn, and a hash is a sixth of what compiling a small solver takes. Who draws without
    # saying so still has another key each step.
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return key + (step + 1).astype(key.dtype)
    data = jax.random.key_data(key)
    return jax.random.wrap_key_data(data + (step + 1).astype(data.dtype), impl=jax.random.key_impl(key))


def residual(problem: Problem, x: PyTree[Array]) -> Scalar:
    """Euclidean norm of the optimality map at ``x``, which has to have the form of ``x``; NaN without one."""
    if not problem.testable:
        return jnp.full((), jnp.nan, jnp.result_type(*[v.real.dtype for v in jax.tree.leaves(x)]))
    F = problem.optimality(x)
    tree.require_like(x, F, "optimality(x)")
    return tree.norm(F)


class Verdict(NamedTuple):
    """What the residual checks remember: the ending so far and how the residual improved.

    Rounding ends progress in one of two ways, both taken for a stall: the iterate no longer moves, or
    the residual, once small beside the largest seen, has kept within a decade of its best without
    improving on it by a tenth for half of all steps (and at least twenty checks' worth).
    """

    code: Int[Array, ""]
    residual: Scalar
    best: Scalar
    largest: Scalar
    checks: Int[Array, ""]
    improved: Int[Array, ""]
    unmoved: Int[Array, ""]


def unjudged(dtype) -> Verdict:
    """The verdict before the first check."""
    zero, inf = jnp.zeros((), jnp.int32), jnp.asarray(jnp.inf, dtype)
    return Verdict(zero, inf, inf, jnp.zeros((), dtype), zero, zero, zero)


def judge(
    problem: Problem,
    solver: Solver,
    verdict: Verdict,
    progress: Progress,
    previous: PyTree[Array],
    now: Scalar,
    tol: Scalar,
    max_steps: Int[Array, ""] | int,
) -> Verdict:
    """The verdict after a residual check: the one stopping rule, the same for all."""
    eps = jnp.finfo(now.dtype).eps
    checks = verdict.checks + 1
    better = now < 0.9 * verdict.best
    best = jnp.where(better, now, verdict.best)
    move, size = tree.largest(tree.subtract(progress.x, previous)), tree.largest(progress.x)
    moved, far = move > eps * size, move > jnp.sqrt(eps) * size
    # At a floor the residual hovers; one that rises tenfold is on its way past a saddle, and one whose
    # iterate still goes far along a valley.
    improved = jnp.where(better | far | (now > 10 * best), progress.steps, verdict.improved)
    improved = improved.astype(jnp.int32)
    largest = jnp.maximum(verdict.largest, now)
    unmoved = jnp.where(moved | (verdict.checks == 0), 0, verdict.unmoved + 1)
    patience = jnp.maximum(20 * solver.check_every, progress.steps // 2)
    floor = (best <= jnp.sqrt(eps) * largest) & (progress.steps - improved >= patience)
    patient = solver.stochastic or not problem.testable
    stalled = jnp.asarray(False) if patient else (unmoved >= 5) | floor
    code = jnp.where(progress.steps >= max_steps, Ending.MAX_STEPS, Ending.RUNNING)
    code = jnp.where(stalled, Ending.STALLED, code)
    if type(solver).diagnosis is not Solver.diagnosis:
        proven = solver.diagnosis(problem, progress.state)
        code = jnp.where(proven != Ending.RUNNING, proven, code)
    code = jnp.where(now <= tol, Ending.CONVERGED, code)
    sound = jnp.isfinite(now) if problem.testable else True
    code = jnp.where(progress.finite & sound, code, Ending.NONFINITE)
    return Verdict(code.astype(jnp.int32), now, best, largest, checks, improved, unmoved)


def conclude(problem: Problem, x0: PyTree[Array], progress: Progress, verdict: Verdict) -> Status:
    """The status: never a success with an undefined objective, and with the origin of what is not finite."""
    undefined = jnp.isnan(problem.objective(progress.x))
    code = jnp.where(undefined, Ending.NONFINITE, verdict.code).astype(jnp.int32)

    def seek() -> Array:
        sound = jnp.isfinite(verdict.residual) if problem.testable else True
        origin = jnp.where(sound, Origin.STEP, Origin.OPTIMALITY)
        origin = jnp.where(undefined, Origin.VALUE, origin)
        origin = jnp.where(tree.all_finite(x0), origin, Origin.START)
        return jnp.where(problem.sound(), origin, Origin.DATA).astype(jnp.int32)

    nowhere = lambda: jnp.asarray(Origin.NOWHERE, jnp.int32)  # noqa: E731
    return Status(code, jax.lax.cond(code == Ending.NONFINITE, seek, nowhere))
