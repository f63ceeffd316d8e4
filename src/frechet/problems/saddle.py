"""Saddle points: one player minimises what the other maximises."""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Scalar

from frechet.convex.function import Function
from frechet.convex.per_leaf import PerLeaf
from frechet.convex.zero import Zero
from frechet.core import lift
from frechet.problems.finite_sum import Mean
from frechet.problems.inclusion import Derived, Inclusion


class SaddlePoint(NamedTuple):
    """A point of either player; what a `Saddle` is solved for.

    Attributes:
        minimiser: $x$, any pytree of arrays.
        maximiser: $y$, any pytree of arrays.
    """

    minimiser: PyTree[Array]
    maximiser: PyTree[Array]


class SaddleOperator(Derived):
    r"""$(x, y) \mapsto (\nabla_x f(x, y), -\nabla_y f(x, y))$, by one reverse pass."""

    def __call__(self, z: SaddlePoint) -> SaddlePoint:
        x, y = jax.grad(lambda z: self.value(z))(z)
        return SaddlePoint(x, jax.tree.map(jnp.negative, y))

    def value(self, z: SaddlePoint) -> Scalar:
        """The function itself."""
        out = lift.call(self.of, z.minimiser, z.maximiser)
        if jnp.shape(out) != ():
            raise TypeError(f"f(x, y) must be a scalar, got shape {jnp.shape(out)}; take its sum or mean")
        return out

    def lifted(self, z: SaddlePoint) -> "SaddleOperator":
        """With the function made a pytree."""
        of = lift.lift(self.of, z.minimiser, z.maximiser, what="objective")
        return self if of is self.of else SaddleOperator(of)


class Saddle(Inclusion):
    r"""Find a saddle point of $\min_x \max_y f(x, y) + g_x(x) - g_y(y)$.

    The unknown is a `SaddlePoint` $z = (x, y)$; a start may be any pair. It is the inclusion of

    $$F(z) = \bigl(\nabla_x f(x, y), -\nabla_y f(x, y)\bigr), \qquad g(z) = g_x(x) + g_y(y),$$

    whose operator is monotone where $f$ is convex in $x$ and concave in $y$. Elsewhere a zero of the
    optimality map is a stationary point, which a local saddle point is and a minimax point may not be. As no
    player's objective alone tells a good point, points are ranked by the residual. Where $g_x$ is infinite
    the objective is $+\infty$, else where $g_y$ is $-\infty$.

    Args:
        f: a callable from two pytrees ``x``, ``y`` to a scalar; smooth. A module may offer more, as a loss
            does (see `Inclusion`).
        g_x: the minimiser's proximable part; nothing when left out.
        g_y: the maximiser's.
        gap: the duality gap $\max_{y'} f(x, y') - \min_{x'} f(x', y)$ (with the proximable parts) as a
            function of ``x`` and ``y``, where it has a closed form; traces show it as ``duality_gap``.

    Raises:
        TypeError: a part of the wrong kind, ``f`` without a scalar result, or a start that is not a pair.

    Source:
        Rockafellar 1970, Monotone operators associated with saddle-functions and minimax problems.

    Example:
        Matching pennies, whose only equilibrium is to toss the coins:

        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> A = jnp.array([[1.0, -1.0], [-1.0, 1.0]])
        >>> simplex = fr.convex.Simplex()
        >>> gap = lambda x, y: jnp.max(A.T @ x) - jnp.min(A @ y)
        >>> game = fr.Saddle(lambda x, y: x @ A @ y, simplex, simplex, gap)
        >>> fair, greedy = jnp.array([0.5, 0.5]), jnp.array([1.0, 0.0])
        >>> game.optimality(fr.SaddlePoint(fair, fair)).minimiser.tolist()
        [0.0, 0.0]
        >>> float(game.measures(fr.SaddlePoint(fair, greedy))["duality_gap"])
        1.0
    """

    always_feasible: ClassVar[bool] = False

    gap: Callable[[PyTree[Array], PyTree[Array]], Scalar] | None = None

    def __init__(
        self,
        f: Callable[[PyTree[Array], PyTree[Array]], Scalar],
        g_x: Function | None = None,
        g_y: Function | None = None,
        gap: Callable[[PyTree[Array], PyTree[Array]], Scalar] | None = None,
    ):
        if not callable(f):
            raise TypeError(f"f must be callable, got {type(f).__name__}")
        if gap is not None and not callable(gap):
            raise TypeError(f"gap must be callable or None, got {type(gap).__name__}")
        self.F = SaddleOperator(f)
        self.g = PerLeaf(SaddlePoint(_part(g_x, "g_x"), _part(g_y, "g_y")))
        self.gap = gap

    @property
    def f(self) -> Callable:
        """The smooth part."""
        return self.F.of  # pyright: ignore[reportFunctionMemberAccess]

    @property
    def g_x(self) -> Function:
        """The minimiser's proximable part."""
        return self.g.functions.minimiser  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def g_y(self) -> Function:
        """The maximiser's proximable part."""
        return self.g.functions.maximiser  # pyright: ignore[reportAttributeAccessIssue]

    def value(self, z: SaddlePoint) -> Scalar:
        """The smooth part, ``f(x, y)``."""
        return self.F.value(z)  # pyright: ignore[reportFunctionMemberAccess]

    def prox(self, z: SaddlePoint, step: Any) -> SaddlePoint:
        """Proximal map of ``step * g``; ``step`` may be a `SaddlePoint` of two, one for either player."""
        s = step if isinstance(step, SaddlePoint) else SaddlePoint(step, step)
        return SaddlePoint(self.g_x.prox(z.minimiser, s.minimiser), self.g_y.prox(z.maximiser, s.maximiser))

    def objective(self, x: SaddlePoint) -> Scalar:
        paid = self.g_x(x.minimiser)
        # Both may be infinite, and their difference is no number.
        return jnp.where(jnp.isposinf(paid), jnp.inf, self.value(x) + paid - self.g_y(x.maximiser))

    def measures(self, x: SaddlePoint) -> dict[str, Scalar]:
        return {} if self.gap is None else {"duality_gap": self.gap(x.minimiser, x.maximiser)}

    def offers(self) -> dict[str, str]:
        return super().offers() | {"value": "f(x, y)", "players": "parts that have objectives of their own"}

    def start(self, x0: Any) -> SaddlePoint:
        return super().start(_pair(x0))

    def lifted(self, x: Any) -> "Saddle":
        x = _pair(x)
        gap = None if self.gap is None else lift.lift(self.gap, *x, what="gap")
        lifted = super().lifted(x)
        return lifted if gap is self.gap else lift.replaced(lifted, gap=gap)  # pyright: ignore


class FiniteSumSaddle(Saddle):
    r"""Find a saddle point of $\frac1n\sum_{i=1}^n \ell(x, y, d_i) + g_x(x) - g_y(y)$; it can be sampled.

    Args:
        loss: ``loss(x, y, one_datum)``, a scalar; smooth.
        data: a pytree of arrays that share their leading axis of length $n$.
        g_x: the minimiser's proximable part; nothing when left out.
        g_y: the maximiser's.
        gap: the duality gap, as in `Saddle`.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.FiniteSumSaddle(lambda x, y, d: d * x * y, jnp.array([1.0, 3.0]))
        >>> z = problem.start((1.0, 10.0))
        >>> [float(v) for v in problem.operator(z)], float(problem.value(z))
        ([20.0, -2.0], 20.0)
        >>> float(problem.sample_operator(z, jnp.array([1])).maximiser)
        -3.0
    """

    def __init__(
        self,
        loss: Callable[..., Scalar],
        data: PyTree[Array],
        g_x: Function | None = None,
        g_y: Function | None = None,
        gap: Callable[[PyTree[Array], PyTree[Array]], Scalar] | None = None,
    ):
        if not callable(loss):
            raise TypeError(f"loss must be callable, got {type(loss).__name__}")
        super().__init__(Mean(loss, data), g_x, g_y, gap)


def _part(g: Any, name: str) -> Function:
    if g is not None and not isinstance(g, Function):
        raise TypeError(f"{name} must be a frechet.convex.Function, got {type(g).__name__}")
    return Zero() if g is None else g


def _pair(z: Any) -> SaddlePoint:
    if not isinstance(z, tuple | list) or len(z) != 2:
        found = f"{len(z)} parts" if isinstance(z, tuple | list) else "something else"
        raise TypeError(f"the point of a Saddle is a pair (x, y), got {found}")
    return SaddlePoint(*z)
