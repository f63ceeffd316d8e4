"""Mirror descent: gradient steps in a Bregman geometry."""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray, PyTree, Scalar

from frechet.convex.geometry import Entropy, Geometry
from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.composite import Composite
from frechet.solvers.proximal.step_size import Backtracking, Decrease, constant_or_none
from frechet.solvers.rounding import rounding
from frechet.solvers.trial_loop import trial_loop


def _step_size(step_size: Any) -> Any:
    return step_size if callable(step_size) else constant_or_none(step_size)


class MirrorDescentState(State):
    """``step`` counts steps; ``value`` is $f(x)$, None (as ``backtracking``) where step sizes are given."""

    step: Int[Array, ""]
    value: Scalar | None
    backtracking: Backtracking | None


class MirrorDescent(Solver):
    r"""Mirror descent, or Bregman proximal gradient, for $f + g$.

    $$x_{k+1} = \arg\min_u\; \langle\nabla f(x_k), u\rangle + g(u) + \tfrac{1}{s_k} D(u, x_k)$$

    with $D$ the Bregman divergence of a geometry: `frechet.convex.Entropy` (the default; on the simplex it is
    the exponentiated gradient method), `frechet.convex.Euclidean`, or one of your own. The gradient need not
    be Lipschitz: it is enough that $f$ is smooth relative to the geometry,
    $f(u) \le f(x) + \langle\nabla f(x), u - x\rangle + L\,D(u, x)$; then for convex $f$
    $f(x_k) - \min f \le L\,D(x^\star, x_0)/k$. Backtracking finds $s_k \approx 1/L$: a step costs a gradient
    and, for every step size tried, a proximal map in the geometry and a value. A given step size costs a
    gradient and such a map.

    Entries at a bound are reached in the limit only; how fast depends on the slope there.

    Every differentiation mode works; step sizes count as constants.

    Args:
        geometry: what measures distances.
        step_size: a constant, a function of the step's number from 0 (a schedule), or None for backtracking.

    Source:
        Nemirovski, Yudin 1983, Problem complexity and method efficiency in optimization; Beck, Teboulle 2003,
        Mirror descent and nonlinear projected subgradient methods; Bauschke, Bolte, Teboulle 2017, A
        descent lemma beyond Lipschitz gradient continuity; Lu, Freund, Nesterov 2018, Relatively smooth
        convex optimization by first-order methods, arXiv 1610.05708.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> f = lambda x: jnp.sum((x - jnp.array([1.0, 0.5, -1.0])) ** 2)
        >>> problem = fr.Composite(f, fr.convex.Simplex())
        >>> x = fr.solve(problem, jnp.ones(3) / 3, MirrorDescent()).x
        >>> bool(jnp.allclose(x, jnp.array([0.75, 0.25, 0.0]), atol=1e-3))
        True
    """

    accepts: ClassVar[type] = Composite

    geometry: Geometry = eqx.field(default_factory=Entropy)
    step_size: float | Array | Callable[[Int[Array, ""]], Scalar] | None = eqx.field(
        default=None, converter=_step_size
    )

    @property
    def needs(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What the geometry's proximal map needs."""
        return self.geometry.needs

    @classmethod
    def presets(cls) -> dict[str, Solver]:
        return {"MirrorDescent": cls()}

    def init(self, problem: Composite, x0: PyTree[Array], *, key: PRNGKeyArray) -> MirrorDescentState:
        zero = jnp.zeros((), int)
        if self.step_size is not None:
            return MirrorDescentState(x0, Calls(), zero, None, None)
        backtracking = Backtracking.start(jnp.result_type(*jax.tree.leaves(x0)))
        return MirrorDescentState(x0, Calls().add(value=1), zero, problem.value(x0), backtracking)

    def step(self, problem: Composite, state: MirrorDescentState, *, key: PRNGKeyArray) -> MirrorDescentState:
        x, gradient, count = state.x, problem.gradient(state.x), state.step + 1
        if state.backtracking is None or state.value is None:
            size = self.step_size(state.step) if callable(self.step_size) else self.step_size
            size = jnp.asarray(size, jnp.result_type(*jax.tree.leaves(x)))
            x = problem.bregman_step(self.geometry, x, gradient, size)
            return MirrorDescentState(x, state.calls.add(gradient=1, prox=1), count, None, None)
        arguments = (problem, self.geometry, x, state.value, gradient)
        s, (x, value, decrease), n = trial_loop(_trial, _accepted, state.backtracking.trial, *arguments)
        calls = state.calls.add(gradient=1, prox=n, value=n)
        return MirrorDescentState(x, calls, count, value, state.backtracking.after(s, n, decrease))


def _trial(
    s: Scalar, problem: Composite, geometry: Geometry, x: PyTree, value: Scalar, gradient: PyTree
) -> tuple:
    ahead = problem.bregman_step(geometry, x, gradient, s)
    value_ahead = problem.value(ahead)
    # Twice the divergence takes the place of the squared distance.
    bregman = value_ahead - value - tree.vdot(gradient, tree.subtract(ahead, x))
    square = 2 * geometry.divergence(ahead, x)
    return ahead, value_ahead, Decrease(bregman, square, rounding(value, value_ahead))


def _accepted(s: Scalar, trial: tuple, *_: Any) -> Bool[Array, ""]:
    return trial[2].sufficient(s)
