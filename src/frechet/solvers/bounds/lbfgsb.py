"""Limited-memory BFGS with bounds."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, Scalar

from frechet.core.calls import Calls
from frechet.core.solver import State
from frechet.problems.composite import Composite
from frechet.solvers.bounds.compact_bfgs import CompactBFGS
from frechet.solvers.bounds.wolfe_search import wolfe_search
from frechet.solvers.known_value import KnownValue


class LBFGSBState(State):
    r"""What is known at the iterate, and the last few pairs; the newest pair is the last.

    Attributes:
        value: $f(x)$.
        gradient: $\nabla f(x)$, in the form of ``x``.
        s: moves $s_i = x_{i+1} - x_i$, each raveled as by `jax.flatten_util.ravel_pytree`.
        y: changes of gradient $y_i$, likewise.
        rho: $1/s_i^\top y_i$; 0 where there is no pair yet.
    """

    value: Scalar
    gradient: PyTree[Array]
    s: Float[Array, "history n"]
    y: Float[Array, "history n"]
    rho: Float[Array, " history"]


class LBFGSB(KnownValue):
    r"""L-BFGS-B: a limited-memory quasi-Newton method for smooth $f$ with bounds, or without.

    The BFGS model of $f$ is first minimised along the projected gradient path, which says which bounds to
    hold (the generalised Cauchy point), then over the other coordinates without regard to their bounds. What
    that gives is clipped to the box, or, where clipping spoils the descent, shortened until it fits. A line
    search for the strong Wolfe conditions follows on the segment from $x_k$, inside the box. So $f$ is never
    evaluated outside, and a start outside is moved onto the box first. Without bounds this is L-BFGS. A step
    costs a value and a gradient for every step length tried.

    A pair is kept where $s^\top y > \varepsilon \|y\|^2$. Where no step length lowers $f$ the pairs are
    dropped and the next step is along the negative gradient.

    Args:
        history: how many pairs are kept.

    Source:
        Byrd, Lu, Nocedal, Zhu 1995, A limited memory algorithm for bound constrained optimization; Morales,
        Nocedal 2011, Remark on algorithm 778.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> rosenbrock = lambda x: 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2
        >>> problem = fr.Bounded(rosenbrock, upper=jnp.array([0.5, jnp.inf]))
        >>> fr.solve(problem, jnp.array([-1.2, 1.0]), LBFGSB()).x.round(3).tolist()
        [0.5, 0.25]
    """

    accepts: ClassVar[type] = Composite
    needs: ClassVar[frozenset[str]] = frozenset({"bounds"})
    check_every: ClassVar[int] = 1

    history: int = eqx.field(default=10, static=True)

    def __check_init__(self):
        if self.history < 1:
            raise ValueError(f"history must be at least 1, got {self.history}")

    def init(self, problem: Composite, x0: PyTree[Array], *, key: PRNGKeyArray) -> LBFGSBState:
        x = problem.g.prox(x0, 1.0)
        value, gradient = problem.value_and_gradient(x)
        flat = ravel_pytree(x)[0]
        none = jnp.zeros((self.history, flat.size), flat.dtype)
        calls = Calls().add(value=1, gradient=1)
        return LBFGSBState(x, calls, value, gradient, none, none, jnp.zeros(self.history, flat.dtype))

    def step(self, problem: Composite, state: LBFGSBState, *, key: PRNGKeyArray) -> LBFGSBState:
        x, gradient = ravel_pytree(state.x)[0], ravel_pytree(state.gradient)[0]
        lower, upper = (ravel_pytree(b)[0] for b in problem.g.bounds(state.x))
        model = CompactBFGS.of(state.s, state.y, state.rho)
        d = _direction(model, problem.g.smooth, x, gradient, lower, upper)
        steepest = jnp.clip(x - gradient, lower, upper) - x
        # Rounding can spoil the model; the projected gradient always descends.
        spoiled = ~(jnp.vdot(d, gradient) < 0) | ~jnp.all(jnp.isfinite(d))
        d, rho = jnp.where(spoiled, steepest, d), jnp.where(spoiled, 0, state.rho)
        untried = ~jnp.any(rho > 0)

        longest = jnp.min(jnp.where(d > 0, (upper - x) / d, jnp.where(d < 0, (lower - x) / d, jnp.inf)))
        longest = jnp.where(untried, 1, jnp.clip(longest, 1, 1e10)).astype(x.dtype)
        if problem.g.smooth:
            longest = jnp.full_like(longest, 1e10)
        size = jnp.linalg.norm(d)
        boxed = jnp.all(jnp.isfinite(lower) & jnp.isfinite(upper))
        short = jnp.minimum(1 / jnp.where(size > 0, size, 1), longest)
        first = jnp.where(untried & ~boxed, short, 1).astype(x.dtype)
        slope = jnp.vdot(d, gradient)
        t, ((ahead, gradient_ahead), value, _), trials = wolfe_search(
            _trial, first, longest, state.value, slope, problem, state.x, d, lower, upper
        )

        moved = t > 0
        s, y = ravel_pytree(ahead)[0] - x, ravel_pytree(gradient_ahead)[0] - gradient
        sy = jnp.vdot(s, y)
        eps = jnp.finfo(x.dtype).eps
        curved = moved & (sy > eps * jnp.vdot(y, y)) & (sy > 0)
        keep = lambda new, old: jnp.where(curved, jnp.concatenate([old[1:], new[None]]), old)  # noqa: E731
        new_rho = keep(1 / jnp.where(curved, sy, 1), rho)
        return LBFGSBState(
            x=jax.tree.map(lambda u, v: jnp.where(moved, u, v), ahead, state.x),
            calls=state.calls.add(value=trials, gradient=trials),
            value=jnp.where(moved, value, state.value),
            gradient=jax.tree.map(lambda u, v: jnp.where(moved, u, v), gradient_ahead, state.gradient),
            s=keep(s, state.s),
            y=keep(y, state.y),
            rho=jnp.where(moved, new_rho, 0),
        )


def _direction(
    model: CompactBFGS, unbounded: bool, x: Array, gradient: Array, lower: Array, upper: Array
) -> Array:
    """From ``x`` to about the minimiser of the model in the box."""
    if unbounded:
        return model.newton_step(gradient, jnp.ones(x.shape, bool))
    point, bent, free = model.cauchy_point(x, gradient, lower, upper)
    d = model.newton_step(gradient + bent, free)
    clipped = jnp.clip(point + d, lower, upper)
    room = jnp.where(d > 0, upper - point, lower - point) / jnp.where(d == 0, 1, d)
    fits = jnp.min(jnp.where(d == 0, 1, room), initial=1.0)
    shortened = jnp.clip(point + fits * d, lower, upper)
    return jnp.where(jnp.vdot(clipped - x, gradient) < 0, clipped, shortened) - x


def _trial(
    t: Scalar, problem: Composite, x: PyTree, d: Array, lower: Array, upper: Array
) -> tuple[tuple, Scalar, Scalar]:
    flat, unravel = ravel_pytree(x)
    ahead = unravel(jnp.clip(flat + t * d, lower, upper))
    value, gradient = problem.value_and_gradient(ahead)
    return (ahead, gradient), value, jnp.vdot(ravel_pytree(gradient)[0], d)
