"""The pure loop: jit, vmap and grad go through it."""

import importlib
import threading
from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax.custom_derivatives import SymbolicZero, zero_from_primal
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree, Scalar

from frechet.core import batches, implicit, lift, loop
from frechet.core import history as trace
from frechet.core.calls import Calls
from frechet.core.problem import Problem
from frechet.core.solver import Solver, State
from frechet.core.status import Ending, Status

Differentiate = Literal["implicit", "one-step", "unroll", "none"]


class Stats(eqx.Module):
    """What the host did for one call of `solve`.

    Attributes:
        compile_seconds: time spent tracing, lowering and compiling; 0.0 when an earlier program served,
            and inside somebody else's jit.
        traces: how often user functions were traced.
    """

    compile_seconds: float
    traces: int


class Solution(eqx.Module):
    """What `solve` returns; a pytree, so it passes through jit and vmap.

    Attributes:
        x: the solution, or the last finite iterate.
        status: how it ended; per member under ``vmap``.
        residual: Euclidean norm of ``problem.optimality(x)``; NaN where the problem has no such map.
        steps: solver steps taken.
        calls: oracles used.
        state: the solver's last state.
        stats: compile seconds and trace count of this call.
        history: objective and residual along the way, where `solve` was asked for it.
    """

    x: PyTree[Array]
    status: Status
    residual: Float[Array, "*batch"]
    steps: Int[Array, "*batch"]
    calls: Calls
    state: State
    stats: Stats
    history: trace.History | None = None


def solve(
    problem: Problem,
    x0: PyTree[Array],
    solver: Solver | None = None,
    *,
    tol: float | Scalar | None = None,
    max_steps: int = 10_000,
    key: PRNGKeyArray | None = None,
    differentiate: Differentiate = "implicit",
    linear_solver: lx.AbstractLinearSolver | None = None,
    history: int | None = None,
    compact: bool = False,
) -> Solution:
    r"""Solves a problem; pure, and differentiable with respect to every inexact leaf of the problem.

    Steps are taken until $\|\mathrm{optimality}(x)\|_2 \le$ ``tol``, checked every ``solver.check_every``
    steps. Works under ``jit``, ``vmap``, ``grad``, ``jvp`` and inside another solve.

    Derivatives: ``"implicit"`` uses the implicit function theorem at the solution, whatever solver found it
    (Blondel et al. 2022, arXiv 2105.15183); ``"one-step"`` differentiates a single solver step at the
    solution (Bolte, Pauwels, Vaiter 2023, arXiv 2305.13768); ``"unroll"`` differentiates the steps taken
    (``max_steps`` must be a Python integer); ``"none"`` stops derivatives. The start, the tolerance and
    the solver's hyperparameters have zero derivative except under ``"unroll"``. Only ``x`` is differentiated.
    A derivative of a solve that did not converge issues a `DerivativeWarning` at run time.

    Args:
        problem: what to solve. Plain callables in it are lifted: arrays they captured are leaves too.
        x0: the start, a pytree of inexact arrays; it fixes structure, shapes and dtypes of ``x``.
        solver: how; the kind's default when left out.
        tol: residual to reach; left out, the square root of the dtype's epsilon.
        max_steps: most steps to take; no recompilation when it changes.
        key: random key for stochastic solvers; fixed when left out.
        differentiate: the derivative rule.
        linear_solver: a Lineax solver for the implicit derivative; by default a dense factorisation up to
            256 unknowns, then conjugate gradients (composite problems) or GMRES.
        history: how many rows of objective and residual to keep, in ``solution.history``; None keeps nothing
            and costs nothing.
        compact: under ``vmap``, gather the unfinished members of a batch into smaller and smaller batches,
            so that a few slow ones do not keep all at work. It compiles a program for each size, and where
            arithmetic depends on a batch's size, the last bits of ``x`` may depend on who else is in it.

    Returns:
        A `Solution`.

    Raises:
        TypeError: the problem or solver is of the wrong kind, the solver cannot take the problem, or ``x0``
            has integer leaves or does not match the optimality map.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import frechet as fr
        >>> def minimiser(a):
        ...     problem = fr.Composite(lambda x: jnp.sum((x - a) ** 2))
        ...     return fr.solve(problem, jnp.zeros(2), tol=1e-5).x.sum()
        >>> round(float(jax.grad(minimiser)(3.0)), 4)
        2.0
    """
    mark = clock.mark()
    problem, x0, solver = prepare(problem, x0, solver)
    if differentiate not in ("implicit", "one-step", "unroll", "none"):
        raise ValueError(
            f'differentiate must be "implicit", "one-step", "unroll" or "none", got {differentiate!r}'
        )
    if isinstance(max_steps, int) and max_steps < 0:
        raise ValueError(f"max_steps must be at least 0, got {max_steps}")
    static_steps = None
    if differentiate == "unroll":
        if not isinstance(max_steps, int):
            raise TypeError('differentiate="unroll" needs max_steps as a Python int')
        static_steps = max_steps
    if history is not None and (not isinstance(history, int) or history < 2):
        raise ValueError(f"history is how many rows to keep, an int of at least 2, got {history!r}")
    mode = (differentiate, linear_solver, static_steps, history, bool(compact))
    dynamic, static = split((problem, x0, solver, tol, np.asarray(max_steps), key))
    _require_fit_once(static, problem, solver)
    x, status, residual, steps, state, rows = _solve((mode, static), dynamic)
    return Solution(x, status, residual, steps, state.calls, state, Stats(*clock.since(mark)), rows)


def prepare(problem: Problem, x0: PyTree[Array], solver: Solver | None) -> tuple[Problem, PyTree, Solver]:
    """Checks the three, lifts the problem's callables and finds the default solver."""
    if not isinstance(problem, Problem):
        raise TypeError(
            f"problem must be a frechet Problem such as fr.Composite(f, g), got {_named(problem)}"
        )
    x0 = jax.tree_util.tree_map_with_path(_start_leaf, x0)
    if not jax.tree.leaves(x0):
        raise TypeError("x0 has no arrays; pass the starting point as a pytree of float arrays")
    problem = type(problem).lifted(problem, x0)
    x0 = type(problem).start(problem, x0)
    if solver is None:
        where = problem.default_solver()
        if where is None:
            raise TypeError(f"{problem.kind} has no default solver; pass one as the third argument")
        module, name = where.split(":")
        solver = getattr(importlib.import_module(module), name)()
    if not isinstance(solver, Solver):
        hint = f"; did you mean {solver.__name__}()?" if isinstance(solver, type) else ""
        raise TypeError(f"solver must be a frechet Solver, got {_named(solver)}{hint}")
    return problem, x0, solver


def require_fit(problem: Problem, solver: Solver) -> None:
    """Raises where the solver cannot take the problem, saying why."""
    reason = solver.fits(problem)
    if reason:
        raise TypeError(f"{type(solver).__name__} cannot take this problem: it {reason}")


_fitting: set["_Static"] = set()


def _require_fit_once(static: "_Static", problem: Problem, solver: Solver) -> None:
    # What a problem offers is a matter of its structure, so one look for each is enough.
    if static not in _fitting:
        require_fit(problem, solver)
        if len(_fitting) >= 4096:
            _fitting.clear()
        _fitting.add(static)


def _named(v: Any) -> str:
    return f"the class {v.__name__}" if isinstance(v, type) else f"a {type(v).__name__}"


def _start_leaf(path, v: Any) -> Any:
    if not isinstance(v, jax.Array):
        if not isinstance(v, (*_DYNAMIC, int)) and not hasattr(v, "__jax_array__"):
            raise TypeError(f"x0{jax.tree_util.keystr(path)} is {_named(v)}, not an array; pass floats")
        v = jnp.asarray(v)
    if not jnp.issubdtype(v.dtype, jnp.inexact):
        raise TypeError(f"x0{jax.tree_util.keystr(path)} has dtype {v.dtype}; pass floats")
    return v


# ------------------------------------------------------------------ the cache key: what is static


class _Static:
    """Structure and static leaves, hashed once a call."""

    __slots__ = ("hash", "leaves", "treedef")

    def __init__(self, treedef: Any, leaves: tuple):
        self.treedef, self.leaves = treedef, leaves
        self.hash = hash((treedef, leaves))

    def __hash__(self) -> int:
        return self.hash

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Static)
            and self.hash == other.hash
            and self.treedef == other.treedef
            and self.leaves == other.leaves
        )


_DYNAMIC = (jax.Array, np.ndarray, np.generic, float, complex)


def split(parts: Any) -> tuple[list, _Static]:
    """Splits a pytree into what may change without recompilation (arrays and floats) and what may not."""
    leaves, treedef = jax.tree.flatten(parts)
    dynamic = [v for v in leaves if isinstance(v, _DYNAMIC)]
    return dynamic, _Static(treedef, tuple(None if isinstance(v, _DYNAMIC) else _Leaf(v) for v in leaves))


class _Leaf:
    """A static leaf, told apart by type as well (1, 1.0 and True are different programs)."""

    __slots__ = ("value",)

    def __init__(self, value: Any):
        self.value = value

    def __hash__(self) -> int:
        return hash((type(self.value), self.value))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Leaf) and type(self.value) is type(other.value) and self.value == other.value
        )


def join(static: _Static, dynamic: list) -> Any:
    """The inverse of `split`."""
    rest = iter(dynamic)
    return jax.tree.unflatten(static.treedef, [next(rest) if v is None else v.value for v in static.leaves])


# ------------------------------------------------------------------ what is compiled


def default_tol(x: PyTree[Array]) -> float:
    """The tolerance that stands for None: the square root of the coarsest dtype's epsilon."""
    return max(float(jnp.finfo(v.dtype).eps) for v in jax.tree.leaves(x)) ** 0.5


def _solve_flat(static: tuple, dynamic: list) -> tuple:
    (differentiate, linear_solver, static_steps, history, compact), structure = static
    problem, x0, solver, tol, max_steps, key = join(structure, dynamic)
    tol = default_tol(x0) if tol is None else tol
    key = jax.random.key(0) if key is None else key
    if differentiate == "unroll":
        return _unrolled(problem, x0, solver, tol, static_steps, key, history)

    theta, structure_of_problem = split(problem)
    others, structure_of_others = split((x0, solver, tol, max_steps))

    def problem_of(theta: list) -> Problem:
        return join(structure_of_problem, theta)

    def parts(args: tuple) -> tuple:
        theta, others, key = args
        return problem_of(theta), *join(structure_of_others, others), key

    repeated = _loop(parts, history)

    @jax.custom_jvp
    def solution(theta: list, others: list, key: PRNGKeyArray) -> tuple:
        args = (theta, others, key)
        return batches.compacting(repeated, args) if compact else batches.whole(repeated, args)

    def rule(primals: tuple, tangents: tuple) -> tuple:
        out = solution(*primals)
        x, status, _, _, state, _ = out
        zeros = jax.tree.map(lambda v: zero_from_primal(v, symbolic_zeros=True), out)
        theta, others, key = primals
        moved = [not isinstance(t, SymbolicZero) for t in tangents[0]]
        if differentiate == "none" or not any(moved):
            return out, zeros
        held = [None if m else v for v, m in zip(theta, moved, strict=True)]

        def of(perturbed: list[Array]) -> Problem:
            it = iter(perturbed)
            return problem_of([next(it) if m else v for v, m in zip(held, moved, strict=True)])

        at = [v for v, m in zip(theta, moved, strict=True) if m]
        dot = [v for v, m in zip(tangents[0], moved, strict=True) if m]
        if differentiate == "one-step":
            solver = join(structure_of_others, others)[1]
            x_dot = jax.jvp(lambda p: solver.step(of(p), state, key=key).x, (at,), (dot,))[1]
        else:
            x_dot = implicit.tangent(of, at, dot, x, status.converged, linear_solver)
        return out, (x_dot, *zeros[1:])

    solution.defjvp(rule, symbolic_zeros=True)
    return solution(theta, others, key)


_solve = jax.jit(_solve_flat, static_argnums=0)


def _loop(parts: Callable[[tuple], tuple], history: int | None) -> batches.Loop:
    """The loop of a solve, over what ``parts`` makes a problem, start, solver, tolerance, limit and key."""

    def begin(args: tuple) -> tuple:
        problem, x0, solver, _, _, key = parts(args)
        dtype = _real_dtype(x0)
        recorder = None if history is None else trace.blank(history, dtype)
        return loop.begin(problem, x0, solver, key), x0, loop.unjudged(dtype), recorder

    def turn(args: tuple, carry: tuple) -> tuple:
        # The check comes first, so that a start which is already a solution takes no step; the map is
        # traced once.
        problem, x0, solver, tol, max_steps, key = parts(args)
        progress, previous, verdict, recorder = carry
        now = loop.residual(problem, progress.x).astype(_real_dtype(x0))
        verdict = loop.judge(problem, solver, verdict, progress, previous, now, tol, max_steps)
        if recorder is not None:
            recorder = trace.record(recorder, problem, solver, progress, verdict)
        n = jnp.minimum(solver.check_every, max_steps - progress.steps)
        n = jnp.where(verdict.code == Ending.RUNNING, n, 0)
        return loop.advance(problem, solver, progress, n, key), progress.x, verdict, recorder

    def end(args: tuple, carry: tuple) -> tuple:
        problem, x0, *_ = parts(args)
        progress, _, verdict, recorder = carry
        return _outcome(problem, x0, progress, verdict, recorder)

    return batches.Loop(begin, turn, lambda carry: carry[2].code == Ending.RUNNING, end)


def _real_dtype(x0: PyTree) -> Any:
    return jnp.result_type(*[v.real.dtype for v in jax.tree.leaves(x0)])


def _outcome(
    problem: Problem,
    x0: PyTree,
    progress: loop.Progress,
    verdict: loop.Verdict,
    recorder: trace.Recorder | None,
) -> tuple:
    status = loop.conclude(problem, x0, progress, verdict)
    rows = None if recorder is None else trace.close(recorder, problem, progress, verdict)
    return progress.x, status, verdict.residual, progress.steps, progress.state, rows


def _unrolled(
    problem: Problem,
    x0: PyTree,
    solver: Solver,
    tol: Any,
    max_steps: int,
    key: PRNGKeyArray,
    history: int | None,
) -> tuple:
    """As `_loop` with bounded loops, which reverse mode can go back through."""
    progress = loop.begin(problem, x0, solver, key)
    dtype = _real_dtype(x0)
    every = solver.check_every

    def check(carry: tuple) -> tuple:
        progress, previous, verdict, recorder = carry
        now = jax.lax.stop_gradient(loop.residual(problem, progress.x)).astype(dtype)
        verdict = loop.judge(problem, solver, verdict, progress, previous, now, tol, max_steps)
        if recorder is not None:
            recorder = trace.record(recorder, problem, solver, progress, verdict)
        return progress, previous, verdict, recorder

    @jax.checkpoint
    def steps(carry: tuple) -> tuple:
        progress, _, verdict, recorder = carry

        def one(p: loop.Progress, _: None) -> tuple:
            return loop.one_step(problem, solver, p, key, max_steps), None

        return jax.lax.scan(one, progress, None, length=every)[0], progress.x, verdict, recorder

    def chunk(carry: tuple, _: None) -> tuple:
        carry = jax.lax.cond(carry[2].code == Ending.RUNNING, check, lambda c: c, carry)
        return jax.lax.cond(carry[2].code == Ending.RUNNING, steps, lambda c: c, carry), None

    recorder = None if history is None else trace.blank(history, dtype)
    start = (progress, x0, loop.unjudged(dtype), recorder)
    # One chunk more than steps need, for the check that follows the last of them.
    (progress, _, verdict, recorder), _ = jax.lax.scan(chunk, start, None, length=-(-max_steps // every) + 1)
    return _outcome(problem, x0, progress, verdict, recorder)


# ------------------------------------------------------------------ what compilation cost


class _Clock(threading.local):
    """Seconds JAX reports for tracing, lowering and compiling, in this thread."""

    def __init__(self):
        self.seconds = 0.0

    def mark(self) -> tuple[float, int]:
        return self.seconds, lift.traces()

    def since(self, mark: tuple[float, int]) -> tuple[float, int]:
        return self.seconds - mark[0], lift.traces() - mark[1]


clock = _Clock()
_COMPILING = (
    "/jax/core/compile/jaxpr_trace_duration",
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",
)


def _listen(event: str, duration_secs: float, **_: Any) -> None:
    if event in _COMPILING:
        clock.seconds += duration_secs


jax.monitoring.register_event_duration_secs_listener(_listen)
