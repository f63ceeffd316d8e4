"""A line search for the strong Wolfe conditions by bracketing and zooming."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree, Scalar

from frechet.core import tree
from frechet.problems.composite import Composite
from frechet.solvers.line_search.search import Found, LineSearch
from frechet.solvers.wrappers import handed
from frechet.solvers.wrappers.counted import precision_of


class Zoom(LineSearch):
    r"""A step $t$ that meets the strong Wolfe conditions, by Optax's search.

    $$f(x + t d) \le f(x) + c_1 t\, f'(x; d), \qquad |f'(x + t d; d)| \le c_2 |f'(x; d)|$$

    Where rounding hides the decrease, the approximate condition of Hager and Zhang takes the place of the
    first. Steps grow until the conditions are bracketed, then the bracket shrinks by interpolation.
    Every step tried costs a value and a gradient.

    Args:
        armijo: $c_1$.
        curvature: $c_2$.
        approximate: the approximate condition counts where $f$ has risen by at most this fraction of itself.
        tolerance: how far the conditions may be violated.
        growth: factor between steps until they bracket.
        longest: bound on the step; None for none.
        shortest_bracket: a bracket shorter than this is not searched further.
        max_trials: steps tried at most; then the best that lowers $f$ enough is taken.
        verbose: print why a search fails.

    Source: Nocedal, Wright 2006, Numerical Optimization, algorithms 3.5 and 3.6; Hager, Zhang 2006,
    Algorithm 851: CG_DESCENT.
    """

    armijo: float = 1e-4
    curvature: float = 0.9
    approximate: float = 1e-6
    tolerance: float = 0.0
    growth: float = 2.0
    longest: float | None = None
    shortest_bracket: float = 1e-6
    max_trials: int = eqx.field(default=30, static=True)
    verbose: bool = eqx.field(default=False, static=True)

    def find(
        self, problem: Composite, x: PyTree, value: Scalar, gradient: PyTree, direction: PyTree, first: Scalar
    ) -> Found:
        with precision_of(x):
            search = optax.scale_by_zoom_linesearch(
                max_linesearch_steps=self.max_trials,
                max_learning_rate=self.longest,
                tol=self.tolerance,
                increase_factor=self.growth,
                slope_rtol=self.armijo,
                curv_rtol=self.curvature,
                approx_dec_rtol=self.approximate,
                stepsize_precision=self.shortest_bracket,
                initial_guess_strategy="keep",
                verbose=self.verbose,
            )
            begun: Any = search.init(x)
            state: Any = search.update(
                direction,
                begun._replace(learning_rate=first),
                x,
                value=value.astype(first.dtype),
                # Optax takes its inner product with the direction, which for complex unknowns asks for this.
                grad=jax.tree.map(jnp.conj, gradient),
                value_fn=lambda y: handed.value(problem, y),
            )[1]
        step, info = state.learning_rate, state.info
        error = jnp.maximum(info.decrease_error, info.curvature_error).astype(step.dtype)
        trials = info.num_linesearch_steps.astype(int)
        moved = step > 0
        return Found(
            step=step,
            x=tree.axpy(step, direction, x),
            value=jnp.where(moved, state.value, value).astype(value.dtype),
            gradient=tree.where(moved, handed.same_types(state.grad, gradient), gradient),
            error=error,
            failed=(trials >= self.max_trials) & ~(error <= self.tolerance),
            trials=trials,
            values=trials,
            gradients=trials,
        )
