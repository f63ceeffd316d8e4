"""A line search that only ever shortens the step."""

from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PyTree, Scalar

from frechet.core import tree
from frechet.problems.composite import Composite
from frechet.solvers.line_search.search import Found, LineSearch, along, slope

Condition = Literal["armijo", "goldstein", "wolfe", "strong-wolfe"]


class _Trial(NamedTuple):
    step: Scalar
    next: Scalar
    x: PyTree[Array]
    value: Scalar
    gradient: PyTree[Array]
    error: Scalar
    trials: Int[Array, ""]
    done: Bool[Array, ""]


class Backtracking(LineSearch):
    r"""The longest of $t_0, \beta t_0, \beta^2 t_0, \dots$ that meets a condition.

    All ask for sufficient decrease $f(x + td) \le f(x) + c_1 t f'(x; d)$; "goldstein" also for
    $f(x + td) \ge f(x) + (1 - c_1) t f'(x; d)$, "wolfe" for $f'(x + td; d) \ge c_2 f'(x; d)$ and
    "strong-wolfe" for $|f'(x + td; d)| \le c_2 |f'(x; d)|$. A step tried costs a value, with the Wolfe
    conditions a gradient too; without them the last one costs a value and a gradient more. After
    ``max_trials`` the last step is taken.

    Args:
        condition: one of the four.
        armijo: $c_1$.
        curvature: $c_2$.
        tolerance: how far the conditions may be violated.
        shrink: $\beta$.
        longest: bound on the step; None for none.
        max_trials: steps tried at most.

    Source: Nocedal, Wright 2006, Numerical Optimization, section 3.1.
    """

    condition: Condition = eqx.field(default="armijo", static=True)
    armijo: float = 1e-4
    curvature: float = 0.9
    tolerance: float = 0.0
    shrink: float = 0.5
    longest: float | None = None
    max_trials: int = eqx.field(default=30, static=True)

    def __check_init__(self):
        if self.condition not in Condition.__args__:
            known = ", ".join(Condition.__args__)
            raise ValueError(f"condition must be one of {known}, got {self.condition!r}")

    def find(
        self, problem: Composite, x: PyTree, value: Scalar, gradient: PyTree, direction: PyTree, first: Scalar
    ) -> Found:
        sloped = self.condition in ("wolfe", "strong-wolfe")
        before = slope(gradient, direction)
        first = first if self.longest is None else jnp.minimum(first, jnp.asarray(self.longest, first.dtype))
        none = jnp.zeros((), int)
        start = _Trial(
            first, first, x, value, gradient, jnp.full_like(first, jnp.inf), none, jnp.asarray(False)
        )

        def body(c: _Trial) -> _Trial:
            t = c.next
            if sloped:
                ahead, value_ahead, turned = along(problem, x, direction, t)
            else:
                ahead, turned = tree.axpy(t, direction, x), gradient
                value_ahead = problem.value(ahead)
            after = slope(turned, direction)
            error = self._violation(t, value, before, value_ahead, after).astype(c.error.dtype)
            following = (t * self.shrink).astype(t.dtype)
            return _Trial(
                t, following, ahead, value_ahead, turned, error, c.trials + 1, error <= self.tolerance
            )

        last = jax.lax.while_loop(lambda c: ~c.done & (c.trials < self.max_trials), body, start)
        value_ahead, turned = last.value, last.gradient
        if not sloped:
            value_ahead, turned = problem.value_and_gradient(last.x)
        extra = 0 if sloped else 1
        return Found(
            step=last.step,
            x=last.x,
            value=value_ahead,
            gradient=turned,
            error=last.error,
            failed=~last.done,
            trials=last.trials,
            values=last.trials + extra,
            gradients=last.trials if sloped else none + 1,
        )

    def _violation(self, t: Any, value: Any, before: Any, value_ahead: Any, after: Any) -> Scalar:
        gaps = [value_ahead - (value + self.armijo * t * before)]
        if self.condition == "goldstein":
            gaps.append(value + (1 - self.armijo) * t * before - value_ahead)
        elif self.condition == "wolfe":
            gaps.append(self.curvature * before - after)
        elif self.condition == "strong-wolfe":
            gaps.append(jnp.abs(after) - self.curvature * jnp.abs(before))
        worst = jnp.maximum(0, jnp.max(jnp.stack([g.astype(gaps[0].dtype) for g in gaps])))
        return jnp.where(jnp.isnan(worst), jnp.inf, worst)  # "try a smaller step"
