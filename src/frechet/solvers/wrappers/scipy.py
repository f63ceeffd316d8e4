"""SciPy's local optimisers, least-squares solvers and root finders as solvers of this library."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from frechet.core.calls import Calls
from frechet.core.problem import Problem
from frechet.core.solver import Solver, State
from frechet.problems.composite import Composite
from frechet.problems.constrained import Constrained
from frechet.problems.equations import Root
from frechet.problems.least_squares import LeastSquares
from frechet.solvers.constrained.dense_model import Form
from frechet.solvers.wrappers import dialogue, scipy_runs
from frechet.solvers.wrappers.crossing import crossing


class ScipyState(State):
    """``start`` is where SciPy's run began, ``tape`` its ``count`` evaluations, ``reply`` what it asks."""

    start: Array
    tape: Array
    count: Int[Array, ""]
    reply: dialogue.Reply


class _Query(NamedTuple):
    """An evaluation that SciPy asks for.

    Attributes:
        evaluate: ``(problem, unravel, point, vector)`` to the answer, flat.
        counts: an iterate to the oracles used at it.
    """

    evaluate: Callable
    counts: Callable


def _flat_residual(problem: Any, unravel: Callable, z: Array) -> Array:
    x = unravel(z)
    return ravel_pytree(problem.residual(x) if isinstance(problem, LeastSquares) else problem.optimality(x))[
        0
    ]


def _value_and_gradient(problem: Composite, unravel: Callable, point: Array, vector: Array) -> Array:
    value, gradient = problem.value_and_gradient(unravel(point))
    return jnp.concatenate([value.reshape(1).astype(point.dtype), ravel_pytree(gradient)[0]])


def _value(problem: Composite, unravel: Callable, point: Array, vector: Array) -> Array:
    return problem.value(unravel(point)).reshape(1).astype(point.dtype)


def _hvp(problem: Composite, unravel: Callable, point: Array, vector: Array) -> Array:
    product = ravel_pytree(problem.hvp(unravel(point), unravel(vector)))[0]
    return jnp.concatenate([jnp.zeros_like(product[:1]), product])


def _residual_alone(problem: Problem, unravel: Callable, point: Array, vector: Array) -> Array:
    return _flat_residual(problem, unravel, point)


def _jacobian(problem: Problem, unravel: Callable, point: Array, vector: Array) -> Array:
    return jnp.ravel(jax.jacfwd(functools.partial(_flat_residual, problem, unravel))(point))


def _value_and_rows(problem: Constrained, unravel: Callable, point: Array, vector: Array) -> Array:
    form = Form.of(unravel(point))
    x, _ = form.vectors(form.like)
    return jnp.concatenate([form.value(problem, x).reshape(1), form.rows(problem, x)]).astype(point.dtype)


def _slopes(problem: Constrained, unravel: Callable, point: Array, vector: Array) -> Array:
    form = Form.of(unravel(point))
    gradient, _, jacobian = form.linearised(problem, form.vectors(form.like)[0])
    return jnp.concatenate([gradient, jnp.ravel(jacobian)]).astype(point.dtype)


def _lagrangian_hvp(problem: Constrained, unravel: Callable, point: Array, vector: Array) -> Array:
    product = problem.lagrangian_hvp(unravel(point), unravel(vector).primal)
    return ravel_pytree(product)[0].astype(point.dtype)


_OF_SCALAR = (
    _Query(_value_and_gradient, lambda x: {"value": 1, "gradient": 1}),
    _Query(_hvp, lambda x: {"hvp": 1}),
)
_OF_VALUES = (_Query(_value, lambda x: {"value": 1}),)
_OF_RESIDUAL = (
    _Query(_residual_alone, lambda x: {"value": 1}),
    _Query(_jacobian, lambda x: {"value": 1, "hvp": ravel_pytree(x)[0].size}),
)

_OF_CONSTRAINED = (
    _Query(_value_and_rows, lambda x: {"value": 1}),
    _Query(_slopes, lambda z: {"gradient": 1, "jacobian": 1 if jax.tree.leaves(z[1:]) else 0}),
    _Query(_lagrangian_hvp, lambda x: {"hvp": 1}),
)


class _Method(NamedTuple):
    """What SciPy documents of a method: whether it takes bounds and Hessian-vector products.

    ``resolution`` is an option to which the square root of the dtype's epsilon belongs: how large the
    differences of gradients are that the method takes itself, for which SciPy assumes float64, or how close
    its line searches get, which would otherwise go on without improvement. ``check_every`` is large where
    many evaluations may pass without a better point.
    """

    drive: Callable
    accepts: type[Problem]
    queries: tuple[_Query, ...]
    bounds: bool = False
    hessp: bool = False
    resolution: str | None = None
    check_every: int = 10


_minimiser = functools.partial(_Method, scipy_runs.minimise, Composite, _OF_SCALAR)
_by_values = functools.partial(_Method, scipy_runs.by_values, Composite, _OF_VALUES)
_fit = functools.partial(_Method, scipy_runs.least_squares, LeastSquares, _OF_RESIDUAL)
_finder = functools.partial(_Method, scipy_runs.root, Root, _OF_RESIDUAL)
_constrained = functools.partial(_Method, scipy_runs.constrained, Constrained, _OF_CONSTRAINED)
_METHODS = {
    "L-BFGS-B": _minimiser(bounds=True),
    "BFGS": _minimiser(),
    "CG": _minimiser(),
    "Newton-CG": _minimiser(hessp=True),
    "trust-ncg": _minimiser(hessp=True),
    "trust-krylov": _minimiser(hessp=True),
    "trust-constr": _minimiser(bounds=True, hessp=True),
    "TNC": _minimiser(bounds=True, resolution="accuracy"),
    "SLSQP": _minimiser(bounds=True),
    "Nelder-Mead": _by_values(bounds=True, check_every=50),
    "Powell": _by_values(bounds=True, resolution="xtol", check_every=50),
    "constrained:SLSQP": _constrained(bounds=True),
    "constrained:trust-constr": _constrained(bounds=True, hessp=True, check_every=50),
    "least_squares:trf": _fit(bounds=True),
    "least_squares:dogbox": _fit(bounds=True),
    "least_squares:lm": _fit(),
    "root:hybr": _finder(),
    "root:lm": _finder(),
}

_TAPE = 2**22  # numbers on the tape at most, unless `memory` says otherwise


class Scipy(Solver):
    r"""A method of `scipy.optimize`, an evaluation a step.

    Takes what SciPy's ``minimize`` takes as a `Composite` (smooth, or with bounds where the method takes
    them) or, with constraints, as a `Constrained`, ``least_squares`` as a `LeastSquares` and ``root`` as a
    `Root`. Nothing is evaluated out of bounds. SciPy works in float64, the problem is evaluated in its own
    precision. A step answers one request of SciPy's: a value with its gradient (alone for methods without
    gradients), a Hessian-vector product, a residual or a Jacobian, the value with the constraints or their
    slopes. So calls are exact, no evaluation leaves the compiled program, and it works under ``jit`` and
    ``vmap`` (slowly beyond 256 members) and resumes exactly; ``x`` is the last iterate SciPy accepted, or,
    for residuals and without gradients, the best. The multipliers of a `Constrained` are least-squares
    estimates at that iterate. Where constraints cannot be met the solve stalls or spends its steps:
    these methods do not say so.

    SciPy's own stopping is switched off as far as it can be. A run that ends by itself, or outgrows
    its memory, is followed by another from where it ended; if that one gets nowhere either, ``x`` stays and
    the solve is found to have stalled.

    Args:
        method: one of ``minimize``'s by its name (L-BFGS-B, BFGS, CG, Newton-CG, trust-ncg, trust-krylov,
            trust-constr, TNC, SLSQP, and without gradients Nelder-Mead and Powell), ``constrained:`` SLSQP or
            trust-constr, ``least_squares:`` trf, dogbox or lm, or ``root:`` hybr or lm.
        options: SciPy's options for the method, a dictionary.
        memory: evaluations in a run. All are recorded, so that a run can be made again; by default 1,000,
            fewer (but at least 20) beyond 4,000 unknowns.

    Raises:
        ValueError: an unknown method.

    Source:
        Virtanen et al. 2020, SciPy 1.0: fundamental algorithms for scientific computing in Python; each
        method's own source is in SciPy's documentation.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.Composite(lambda x: jnp.sum((x - 1) ** 4 + x**2), fr.convex.Box(0.5, 2.0))
        >>> fr.solve(problem, jnp.ones(2), Scipy("L-BFGS-B")).x.round(2).tolist()
        [0.5, 0.5]
        >>> disc = fr.Constrained(lambda x: x.sum(), ineq=lambda x: x @ x - 2.0)
        >>> point = fr.solve(disc, jnp.zeros(2), Scipy("constrained:SLSQP")).x
        >>> point.primal.round(2).tolist(), round(float(point.dual_ineq), 2)
        ([-1.0, -1.0], 0.5)
    """

    method: str = eqx.field(default="L-BFGS-B", static=True)
    options: tuple[tuple[str, Any], ...] = eqx.field(
        default=(), static=True, converter=lambda o: tuple(sorted(dict(o).items()))
    )
    memory: int | None = eqx.field(default=None, static=True)

    def __check_init__(self):
        if self.method not in _METHODS:
            raise ValueError(f"unknown SciPy method {self.method!r}; known are {', '.join(_METHODS)}")

    @property
    def _method(self) -> _Method:
        return _METHODS[self.method]

    @property
    def accepts(self) -> type[Problem]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The kind of problem the method is for."""
        return self._method.accepts

    @property
    def converges(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the method sees gradients; without, it gets no closer than values can tell apart."""
        return self._method.queries is not _OF_VALUES

    @property
    def check_every(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Evaluations between residual checks."""
        return self._method.check_every

    def fits(self, problem: Problem) -> str | None:
        reason = super().fits(problem)
        if reason and isinstance(problem, Constrained) and f"constrained:{self.method}" in _METHODS:
            return f"{reason}; use constrained:{self.method}"
        if reason or not isinstance(problem, Composite | Constrained) or problem.g.smooth:
            return reason
        if not problem.g.box:
            return "takes a smooth problem, with bounds at most (g = Box or NonNegative)"
        return None if self._method.bounds else "takes no bounds; use L-BFGS-B or another method that does"

    def _replay(
        self, problem: Problem, x: PyTree[Array], start: Array, tape: Array, count, wanted
    ) -> dialogue.Reply:
        """What the run from ``start`` asks after the first ``count`` evaluations."""
        lower = upper = jnp.full_like(start, jnp.inf)
        lower = -lower
        if isinstance(problem, Composite) and not problem.g.smooth:
            lower, upper = (ravel_pytree(b)[0] for b in problem.g.bounds(x))
        elif isinstance(problem, Constrained):
            bounds = Form.of(x).bounds(problem)
            lower, upper = (v.at[: b.size].set(b) for v, b in zip((lower, upper), bounds, strict=True))
        options = self.options
        if self._method.resolution:
            options = ((self._method.resolution, float(jnp.finfo(start.dtype).eps) ** 0.5), *options)
        how = scipy_runs.How(
            method=self.method.rpartition(":")[2],
            options=options,
            hessp=self._method.hessp,
            sizes=_sizes(problem, x),
            eps=float(jnp.finfo(start.dtype).eps),
        )
        drive = functools.partial(self._method.drive, how=how)
        host = functools.partial(dialogue.replay, repr(self), drive)
        return _called(host, start, start, lower, upper, tape, count, wanted)

    def init(self, problem: Problem, x0: PyTree[Array], *, key: PRNGKeyArray) -> ScipyState:
        start = ravel_pytree(x0)[0]
        size = start.size + 1 if self.accepts is Composite else _longest_answer(problem, x0)
        memory = max(20, min(1000, _TAPE // size)) if self.memory is None else self.memory
        tape, zero = jnp.zeros((memory, size), start.dtype), jnp.zeros((), jnp.int32)
        reply = self._replay(problem, x0, start, tape, zero, True)
        return ScipyState(x0, Calls(), start, tape, zero, reply)

    def step(self, problem: Problem, state: ScipyState, *, key: PRNGKeyArray) -> ScipyState:
        answered = lambda state: self._answered(problem, state)  # noqa: E731
        return jax.lax.cond(state.reply.query >= 0, answered, lambda state: state, state)

    def _answered(self, problem: Problem, state: ScipyState) -> ScipyState:
        _, unravel = ravel_pytree(state.x)
        asked, size = state.reply, state.tape.shape[1]

        def evaluated(query: _Query) -> Callable:
            def evaluate(_: None) -> tuple[Array, Calls]:
                answer = query.evaluate(problem, unravel, asked.point, asked.vector)
                return jnp.pad(answer, (0, size - answer.size)), state.calls.add(**query.counts(state.x))

            return evaluate

        answer, calls = jax.lax.switch(asked.query, [evaluated(q) for q in self._method.queries], None)
        tape = state.tape.at[state.count].set(answer)
        count = state.count + 1
        wanted = asked.query >= 0  # in a batch the others are computed too
        reply = _called(dialogue.answer, state.start, state.start, asked.digest, answer, wanted)

        anew = wanted & ~reply.known
        again = lambda: self._replay(problem, state.x, state.start, tape, count, anew)  # noqa: E731
        reply = jax.lax.cond(anew, again, lambda reply=reply: reply)
        over = (reply.query < 0) | (count == tape.shape[0])
        moved = over & jnp.any(reply.x != state.start)
        # A run that moved is followed by another; one that did not has ended for good.
        start = jnp.where(moved, reply.x, state.start)
        count = jnp.where(moved, 0, count)
        fresh = lambda: self._replay(problem, state.x, start, tape, count, moved)  # noqa: E731
        x = unravel(reply.x)
        reply = jax.lax.cond(moved, fresh, lambda reply=reply: reply)
        query = jnp.where(over & ~moved, -1, reply.query)
        return ScipyState(x, calls, start, tape, count, reply._replace(query=query))

    @classmethod
    def presets(cls) -> dict[str, Solver]:
        return {f"Scipy:{name}": cls(name) for name in _METHODS}


def _sizes(problem: Any, x: PyTree[Array]) -> tuple[int, ...]:
    """Entries of the residual, or of the parts of a `KKTPoint`."""
    if isinstance(problem, Constrained):
        return tuple(sum(v.size for v in jax.tree.leaves(part)) for part in x)
    if isinstance(problem, Composite) and not isinstance(problem, LeastSquares):
        return ()
    of = problem.residual if isinstance(problem, LeastSquares) else problem.optimality
    return (sum(v.size for v in jax.tree.leaves(jax.eval_shape(of, x))),)


def _longest_answer(problem: Any, x: PyTree[Array]) -> int:
    """Entries of a Jacobian, with the gradient for a `Constrained`."""
    first, *others = _sizes(problem, x)
    return first * (1 + sum(others) if others else ravel_pytree(x)[0].size)


def _called(host: Callable, vector: Array, *args: Any) -> dialogue.Reply:
    """A reply of the host to arrays, its vectors like ``vector``."""
    callback = functools.partial(jax.pure_callback, vmap_method="sequential")
    return crossing(callback, host, dialogue.form(vector), *args)
