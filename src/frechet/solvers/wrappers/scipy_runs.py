"""SciPy's side of the dialogue: one run of a method, in a thread of its own, asking for evaluations.

Every run takes ``(start, lower, upper, ask, report)`` as `dialogue.Run` says, and `How`. Query 0 is the
value (with the gradient where the method uses it) or the residual, query 1 a Hessian-vector product or the
Jacobian; those with constraints are in `constrained`. SciPy's own tolerances are switched off as far as it
lets them be.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class How(NamedTuple):
    """What a run is told.

    Attributes:
        method: SciPy's name of it.
        options: SciPy's options for it, as pairs.
        hessp: whether it is given Hessian-vector products.
        sizes: of what is evaluated, where a run says so.
        eps: epsilon of the precision of evaluations.
    """

    method: str
    options: tuple
    hessp: bool
    sizes: tuple[int, ...]
    eps: float


def minimise(start, lower, upper, ask, report, how: How):
    """``minimize`` with gradients."""
    from scipy.optimize import Bounds, minimize

    # Whatever a method tries, nothing is evaluated beyond the bounds.
    inside = lambda x: np.clip(x, lower, upper)  # noqa: E731
    evaluate = _Remembered(lambda x: ask(0, x))

    def gradient(x):
        x = inside(x)
        # SLSQP's callback sees the first trial of a line search; gradients it asks where it arrived.
        if how.method == "SLSQP":
            report(x)
        return evaluate(x)[1:]

    extra: dict[str, Any] = {"hessp": lambda x, p: ask(1, inside(x), p)[1:]} if how.hessp else {}
    if how.method != "SLSQP":
        extra["callback"] = lambda x, *_: report(inside(x))
    if np.any(np.isfinite([lower, upper])):
        extra["bounds"] = Bounds(lower, upper, keep_feasible=True)
    result = minimize(
        lambda x: evaluate(inside(x))[0],
        _begun(start, lower, upper, how),
        jac=gradient,
        method=how.method,
        tol=0.0,
        options=dict(how.options),
        **extra,
    )
    return inside(result.x)


def _begun(start: np.ndarray, lower: np.ndarray, upper: np.ndarray, how: How) -> np.ndarray:
    """The start within the bounds; off them for trust-constr, whose barrier hardly leaves a bound."""
    margin = 1e-2 * np.minimum(1, upper - lower) if how.method == "trust-constr" else 0.0
    return np.clip(start, lower + margin, upper - margin)


def by_values(start, lower, upper, ask, report, how: How):
    """``minimize`` without gradients."""
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
    result = minimize(value, start, method=how.method, bounds=bounds, tol=0.0, options=dict(how.options))
    return np.clip(result.x, lower, upper)


def least_squares(start, lower, upper, ask, report, how: How):
    """``least_squares``; ``sizes`` holds how many residuals there are."""
    from scipy.optimize import least_squares

    residual, jacobian = _residual(ask, report, *how.sizes)
    smallest = 4 * np.finfo(float).eps  # SciPy takes nothing below epsilon
    tolerances = {"ftol": smallest, "xtol": smallest, "gtol": smallest}
    bounds = (lower, upper) if np.any(np.isfinite([lower, upper])) else (-np.inf, np.inf)
    keywords: dict[str, Any] = tolerances | dict(how.options)
    solve: Callable = least_squares
    return solve(residual, start, jac=jacobian, bounds=bounds, method=how.method, **keywords).x


def root(start, lower, upper, ask, report, how: How):
    """``root``; ``sizes`` holds how many equations there are."""
    from scipy.optimize import root

    residual, jacobian = _residual(ask, report, *how.sizes)
    result = root(residual, start, jac=jacobian, method=how.method, tol=0.0, options=dict(how.options))
    return result.x


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


def constrained(start, lower, upper, ask, report, how: How):
    r"""``minimize`` with constraints, over the primal point, its equations' and inequalities' multipliers.

    Query 0 is $f, h, c$, query 1 the gradient of $f$ and the Jacobian of $h, c$, query 2 a product with the
    Hessian of the Lagrangian. ``sizes`` are those of the three parts. Slopes are asked where a method has
    arrived, and multipliers estimated there.
    """
    from scipy.optimize import Bounds, NonlinearConstraint, minimize
    from scipy.sparse.linalg import LinearOperator

    n, equations, inequalities = how.sizes
    m = equations + inequalities
    lower, upper = lower[:n], upper[:n]
    inside = lambda x: np.clip(x, lower, upper)  # noqa: E731
    whole = lambda x, v: np.concatenate([inside(x), v])  # noqa: E731
    none = np.zeros(m)
    slopes = _Remembered(lambda x: ask(1, whole(x, none))[: n + n * m].reshape(1 + m, n))
    base = None

    @_Remembered
    def values(x: np.ndarray) -> np.ndarray:
        raw = ask(0, whole(x, none))[: 1 + m]
        if base is None or abs(raw[0] - base[1][0]) > 16 * how.eps * abs(raw[0]):
            return raw
        # Values that rounding cannot tell apart, so that a line search would turn down a good step: slopes
        # at both ends tell more, as long as they agree with the values.
        ahead = slopes(x)
        finer = base[1] + 0.5 * (base[2] + ahead) @ (inside(x) - base[0])
        noise = how.eps * (1 + np.abs(raw) + np.abs(ahead) @ np.abs(inside(x)))
        return np.where(np.abs(finer - raw) <= 16 * noise, finer, raw)

    @_Remembered
    def arrived(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        nonlocal base
        told, slope = values(x), slopes(x)
        base = (inside(x), told, slope)
        found = multipliers(slope[0], told[1:], slope[1:], inside(x), lower, upper, equations)
        report(whole(x, found))
        return slope, found

    def curvature(x: np.ndarray, v: np.ndarray) -> LinearOperator:
        padded = lambda p: np.concatenate([p.ravel(), none])  # noqa: E731
        product = lambda p: ask(2, whole(x, v), padded(p))[:n]  # noqa: E731
        return LinearOperator((n, n), matvec=product, dtype=float)  # pyright: ignore[reportCallIssue]

    extra: dict[str, Any] = {}
    if np.any(np.isfinite([lower, upper])):
        extra["bounds"] = Bounds(lower, upper, keep_feasible=True)
    if how.hessp:
        # The Hessian of the Lagrangian comes with the constraints.
        flat = LinearOperator((n, n), matvec=np.zeros_like, dtype=float)  # pyright: ignore[reportCallIssue]
        extra["hess"] = lambda x: flat if m else curvature(x, none)
        ends = np.repeat([0.0, -np.inf], [equations, inequalities])
        derivatives: dict[str, Any] = {"jac": lambda x: arrived(x)[0][1:], "hess": curvature}
        rows = NonlinearConstraint(lambda x: values(x)[1:], ends, np.zeros(m), **derivatives)
        extra["constraints"] = [rows] if m else []
    else:
        # SLSQP wants inequalities at least zero.
        parts = {"eq": (slice(0, equations), 1), "ineq": (slice(equations, m), -1)}
        extra["constraints"] = [
            {
                "type": kind,
                "fun": lambda x, part=part, sign=sign: sign * values(x)[1:][part],
                "jac": lambda x, part=part, sign=sign: sign * arrived(x)[0][1:][part],
            }
            for kind, (part, sign) in parts.items()
            if part.start < part.stop
        ]
    result = minimize(
        lambda x: values(x)[0],
        _begun(start[:n], lower, upper, how),
        jac=lambda x: arrived(x)[0][0],
        method=how.method,
        tol=0.0,
        options=dict(how.options),
        **extra,
    )
    return whole(result.x, arrived(result.x)[1])


def multipliers(
    gradient: np.ndarray,
    rows: np.ndarray,
    jacobian: np.ndarray,
    x: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    equations: int,
) -> np.ndarray:
    r"""Least-squares estimates of the multipliers at a point, exact at a solution.

    $$\min_{y,\;\lambda, \nu \ge 0}\; \|\nabla f + J_h^\top y + J_c^\top \lambda + \nu_u - \nu_l\|^2
      + \|s \lambda\|^2 + \|(x - l)\nu_l\|^2 + \|(u - x)\nu_u\|^2$$

    with the slacks $s = (-c)_+$; the first term is as small as stationarity lets it be, the others that of
    complementarity. Not every method of SciPy's returns multipliers, and none at every iterate.

    Args:
        gradient: of the objective, (n,).
        rows: $h, c$, (m,).
        jacobian: of them, (m, n).
        x: the point, (n,).
        lower: lower bounds, (n,).
        upper: upper bounds, (n,).
        equations: how many rows are equations.

    Returns:
        $y, \lambda$, (m,).

    Source:
        Nocedal, Wright 2006, Numerical Optimization, section 18.3.
    """
    from scipy.optimize import lsq_linear

    if rows.size == 0:
        return rows
    kinds = np.eye(x.size)
    below, above = np.isfinite(lower), np.isfinite(upper)
    pull = np.concatenate([jacobian, -kinds[below], kinds[above]]).T
    slack = np.concatenate([np.zeros(equations), np.maximum(-rows[equations:], 0)])
    slack = np.concatenate([slack, (x - lower)[below], (upper - x)[above]])
    system = np.concatenate([pull, np.diag(slack)])
    right = np.concatenate([-gradient, np.zeros(slack.size)])
    least = np.where(np.arange(slack.size) < equations, -np.inf, 0.0)
    return lsq_linear(system, right, (least, np.inf), method="bvls", tol=1e-15).x[: rows.size]


class _Remembered:
    """A function of a point that remembers the last one: SciPy asks for its parts one by one."""

    def __init__(self, of: Callable):
        self._of, self._last = of, None

    def __call__(self, x: np.ndarray) -> Any:
        if self._last is None or not np.array_equal(self._last[0], x):
            self._last = (x.copy(), self._of(x))
        return self._last[1]
