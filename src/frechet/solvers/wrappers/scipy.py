"""SciPy's local optimisers, least-squares solvers and root finders as Frechet solvers."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from frechet.core.calls import Calls
from frechet.core.problem import Problem
from frechet.core.solver import Solver, State
from frechet.problems.composite import Composite
from frechet.problems.equations import Root
from frechet.problems.least_squares import LeastSquares
from frechet.solvers.wrappers import dialogue


class ScipyState(State):
    """``start`` is where SciPy's run began, ``tape`` its ``count`` evaluations, ``reply`` what it asks."""

    start: Array
    tape: Array
    count: Int[Array, ""]
    reply: dialogue.Reply


# ------------------------------------------------------------------ SciPy's side, in a thread of its own
#
# Query 0 is the value (with the gradient where the method uses it), or the residual; query 1 a
# Hessian-vector product, or the Jacobian. SciPy's own tolerances are switched off as far as it lets them be.


def _minimise(start, lower, upper, ask, report, *, method: str, options: tuple, hessp: bool, rows: int):
    from scipy.optimize import Bounds, minimize

    # Whatever a method tries, nothing is evaluated beyond the bounds.
    inside = lambda x: np.clip(x, lower, upper)  # noqa: E731

    def value_and_gradient(x):
        answer = ask(0, inside(x))
        return answer[0], answer[1:]

    extra: dict[str, Any] = {"hessp": lambda x, p: ask(1, inside(x), p)[1:]} if hessp else {}
    if np.any(np.isfinite([lower, upper])):
        extra["bounds"] = Bounds(lower, upper, keep_feasible=True)
    result = minimize(
        value_and_gradient,
        start,
        jac=True,
        method=method,
        tol=0.0,
        options=dict(options),
        callback=lambda x, *_: report(inside(x)),
        **extra,
    )
    return inside(result.x)


def _by_values(start, lower, upper, ask, report, *, method: str, options: tuple, hessp: bool, rows: int):
    from scipy.optimize import Bounds, minimize

    least = np.inf

    def value(x):
        nonlocal least
        x = np.clip(x, lower, upper)
        out = float(ask(0, x)[0])
        if out < least:
            least = out
            report(x)
        return out

    bounds = Bounds(lower, upper) if np.any(np.isfinite([lower, upper])) else None
    result = minimize(value, start, method=method, bounds=bounds, tol=0.0, options=dict(options))
    return np.clip(result.x, lower, upper)


def _residual(ask: Callable, report: Callable, rows: int) -> tuple[Callable, Callable]:
    """Residual and Jacobian; the point of least residual so far counts as accepted."""
    least = np.inf

    def residual(x):
        nonlocal least
        r = ask(0, x)[:rows]
        size = np.linalg.norm(r)
        if size < least:
            least = size
            report(x)
        return r

    return residual, lambda x: ask(1, x).reshape(rows, x.size)


def _least_squares(start, lower, upper, ask, report, *, method: str, options: tuple, hessp: bool, rows: int):
    from scipy.optimize import least_squares

    residual, jacobian = _residual(ask, report, rows)
    smallest = 4 * np.finfo(float).eps  # SciPy takes nothing below epsilon
    tolerances = {"ftol": smallest, "xtol": smallest, "gtol": smallest}
    bounds = (lower, upper) if np.any(np.isfinite([lower, upper])) else (-np.inf, np.inf)
    keywords: dict[str, Any] = tolerances | dict(options)
    solve: Callable = least_squares
    return solve(residual, start, jac=jacobian, bounds=bounds, method=method, **keywords).x


def _root(start, lower, upper, ask, report, *, method: str, options: tuple, hessp: bool, rows: int):
    from scipy.optimize import root

    residual, jacobian = _residual(ask, report, rows)
    result = root(residual, start, jac=jacobian, method=method, tol=0.0, options=dict(options))
    return result.x


# ------------------------------------------------------------------ the program's side


class _Query(NamedTuple):
    evaluate: Callable  # (problem, unravel, point, vector) -> the answer, flat
    counts: Callable  # number of unknowns -> oracles used


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


_OF_SCALAR = (
    _Query(_value_and_gradient, lambda n: {"value": 1, "gradient": 1}),
    _Query(_hvp, lambda n: {"hvp": 1}),
)
_OF_VALUES = (_Query(_value, lambda n: {"value": 1}),)
_OF_RESIDUAL = (
    _Query(_residual_alone, lambda n: {"value": 1}),
    _Query(_jacobian, lambda n: {"value": 1, "hvp": n}),
)


class _Method(NamedTuple):
    """What SciPy documents of a method: whether it takes bounds and Hessian-vector products.

    ``resolution`` is an option to which the square root of the dtype's epsilon belongs: how large the
    differences of gradients are that the method takes itself, for which SciPy assumes float64, or how close
    its line searches get, which would otherwise go on without improvement.
    """

    drive: Callable
    accepts: type[Problem]
    bounds: bool = False
    hessp: bool = False
    resolution: str | None = None

    @property
    def queries(self) -> tuple[_Query, ...]:
        if self.drive is _by_values:
            return _OF_VALUES
        return _OF_SCALAR if self.accepts is Composite else _OF_RESIDUAL


_METHODS = {
    "L-BFGS-B": _Method(_minimise, Composite, bounds=True),
    "BFGS": _Method(_minimise, Composite),
    "CG": _Method(_minimise, Composite),
    "Newton-CG": _Method(_minimise, Composite, hessp=True),
    "trust-ncg": _Method(_minimise, Composite, hessp=True),
    "trust-krylov": _Method(_minimise, Composite, hessp=True),
    "trust-constr": _Method(_minimise, Composite, bounds=True, hessp=True),
    "TNC": _Method(_minimise, Composite, bounds=True, resolution="accuracy"),
    "SLSQP": _Method(_minimise, Composite, bounds=True),
    "Nelder-Mead": _Method(_by_values, Composite, bounds=True),
    "Powell": _Method(_by_values, Composite, bounds=True, resolution="xtol"),
    "least_squares:trf": _Method(_least_squares, LeastSquares, bounds=True),
    "least_squares:dogbox": _Method(_least_squares, LeastSquares, bounds=True),
    "least_squares:lm": _Method(_least_squares, LeastSquares),
    "root:hybr": _Method(_root, Root),
    "root:lm": _Method(_root, Root),
}

_TAPE = 2**22  # numbers on the tape at most, unless `memory` says otherwise


class Scipy(Solver):
    r"""A method of `scipy.optimize`, an evaluation a step.

    Takes what SciPy's ``minimize`` takes as a `Composite` (smooth, or with bounds where the method takes
    them), ``least_squares`` as a `LeastSquares` and ``root`` as a `Root`. Nothing is evaluated out of bounds.
    SciPy works in float64, the problem is evaluated in its own precision. A step answers one request of
    SciPy's: a value with its gradient (alone for methods without gradients), a Hessian-vector product, a
    residual or a Jacobian. So calls are exact, no evaluation leaves the compiled program, and it works under
    ``jit`` and ``vmap`` (slowly beyond 256 members) and resumes exactly; ``x`` is the last iterate SciPy
    accepted, or, for residuals and without gradients, the best.

    SciPy's own stopping is switched off as far as it can be. A run that ends by itself, or outgrows
    its memory, is followed by another from where it ended; if that one gets nowhere either, ``x`` stays and
    the solve is found to have stalled.

    Args:
        method: one of ``minimize``'s by its name (L-BFGS-B, BFGS, CG, Newton-CG, trust-ncg, trust-krylov,
            trust-constr, TNC, SLSQP, and without gradients Nelder-Mead and Powell), or ``least_squares:``
            trf, dogbox or lm, or ``root:`` hybr or lm.
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
        return self._method.drive is not _by_values

    @property
    def check_every(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Evaluations between residual checks: many where a whole line search may find nothing better."""
        return 50 if self._method.drive is _by_values else 10

    def fits(self, problem: Problem) -> str | None:
        reason = super().fits(problem)
        if reason or not isinstance(problem, Composite) or problem.g.smooth:
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
        options = self.options
        if self._method.resolution:
            options = ((self._method.resolution, float(jnp.finfo(start.dtype).eps) ** 0.5), *options)
        settings = {
            "method": self.method.rpartition(":")[2],
            "options": options,
            "hessp": self._method.hessp,
            "rows": _rows(problem, x),
        }
        drive = functools.partial(self._method.drive, **settings)
        host = functools.partial(dialogue.replay, repr(self), drive)
        return _called(host, start, start, lower, upper, tape, count, wanted)

    def init(self, problem: Problem, x0: PyTree[Array], *, key: PRNGKeyArray) -> ScipyState:
        start = ravel_pytree(x0)[0]
        size = start.size + 1 if self.accepts is Composite else _rows(problem, x0) * start.size
        memory = max(20, min(1000, _TAPE // size)) if self.memory is None else self.memory
        tape, zero = jnp.zeros((memory, size), start.dtype), jnp.zeros((), jnp.int32)
        reply = self._replay(problem, x0, start, tape, zero, True)
        return ScipyState(x0, Calls(), start, tape, zero, reply)

    def step(self, problem: Problem, state: ScipyState, *, key: PRNGKeyArray) -> ScipyState:
        answered = lambda state: self._answered(problem, state)  # noqa: E731
        return jax.lax.cond(state.reply.query >= 0, answered, lambda state: state, state)

    def _answered(self, problem: Problem, state: ScipyState) -> ScipyState:
        _, unravel = ravel_pytree(state.x)
        asked, n, size = state.reply, state.start.size, state.tape.shape[1]

        def evaluated(query: _Query) -> Callable:
            def evaluate(_: None) -> tuple[Array, Calls]:
                answer = query.evaluate(problem, unravel, asked.point, asked.vector)
                return jnp.pad(answer, (0, size - answer.size)), state.calls.add(**query.counts(n))

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


def _rows(problem: Any, x: PyTree[Array]) -> int:
    """Entries of the residual."""
    if isinstance(problem, Composite) and not isinstance(problem, LeastSquares):
        return 1
    of = problem.residual if isinstance(problem, LeastSquares) else problem.optimality
    return sum(v.size for v in jax.tree.leaves(jax.eval_shape(of, x)))


def _called(host: Callable, vector: Array, *args: Any) -> dialogue.Reply:
    """A reply of the host to arrays, its vectors like ``vector``.

    Float64 crosses as pairs of uint32: a callback's thread does not know that its caller enabled x64 for
    itself alone, and would make float32 of it.
    """

    def narrow(v: Any) -> Any:
        return jax.lax.bitcast_convert_type(v, jnp.uint32) if v.dtype == np.float64 else v

    arrays = [jnp.asarray(v) for v in args]
    wide = [v.dtype == np.float64 for v in arrays]

    def widened(*bits: Any) -> dialogue.Reply:
        back = [np.asarray(b, order="C") for b in bits]
        reply = host(*(b.view(np.float64)[..., 0] if w else b for b, w in zip(back, wide, strict=True)))
        return jax.tree.map(
            lambda v: v.view(np.uint32).reshape(*v.shape, 2) if v.dtype == np.float64 else v, reply
        )

    like = jax.ShapeDtypeStruct(vector.shape, vector.dtype)
    form = dialogue.Reply(
        query=jax.ShapeDtypeStruct((), jnp.int32),
        point=like,
        vector=like,
        x=like,
        digest=jax.ShapeDtypeStruct((16,), jnp.uint8),
        known=jax.ShapeDtypeStruct((), jnp.bool_),
    )
    bits = jax.eval_shape(lambda f: jax.tree.map(narrow, f), form)

    @jax.custom_jvp
    def crossing(*args: Array) -> dialogue.Reply:
        return jax.pure_callback(widened, bits, *args, vmap_method="sequential")

    @crossing.defjvp
    def rule(primals: tuple, tangents: tuple) -> tuple:
        raise TypeError('SciPy\'s steps have no derivative; use differentiate="implicit" or "none"')

    out = crossing(*map(narrow, arrays))
    return jax.tree.map(
        lambda b, f: jax.lax.bitcast_convert_type(b, f.dtype) if b.dtype != f.dtype else b, out, form
    )
