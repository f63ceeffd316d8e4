"""Games: several players, each with a cost of its own."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree, Scalar

from frechet.convex.function import Function
from frechet.convex.zero import Zero
from frechet.core import lift
from frechet.problems.inclusion import Derived, Inclusion


class PseudoGradient(Derived):
    r"""$z \mapsto (\nabla_{z_1} c_1(z), \dots, \nabla_{z_m} c_m(z))$: each player's gradient in its part."""

    def __call__(self, z: PyTree[Array]) -> PyTree[Array]:
        structure = jax.tree.structure(z, is_leaf=lambda v: v is not z)

        def costs(z: PyTree[Array]) -> Float[Array, " players"]:
            values = jax.tree.leaves(lift.call(self.of, z))
            if any(jnp.shape(v) != () for v in values) or len(values) != structure.num_leaves:
                shapes = ", ".join(str(list(jnp.shape(v))) for v in values)
                raise TypeError(
                    f"costs(x) must be {structure.num_leaves} scalars, one for each top-level part (player) "
                    f"of x, got shapes {shapes}"
                )
            return jnp.stack(values)

        # Traced once and pulled back once for each player; what is off the Jacobian's diagonal is dropped.
        rows = structure.flatten_up_to(jax.jacrev(costs)(z))
        own = [jax.tree.map(lambda v, i=i: v[i], part) for i, part in enumerate(rows)]
        return structure.unflatten(own)

    def lifted(self, z: PyTree[Array]) -> "PseudoGradient":
        """With the costs made a pytree."""
        of = lift.lift(self.of, z, what="costs")
        return self if of is self.of else PseudoGradient(of)


class Game(Inclusion):
    r"""Find a Nash equilibrium: each of $m$ players minimises a cost of its own over its own part of $z$.

    Player $i$ chooses $z_i$ to minimise $c_i(z) + g_i(z_i)$ while the others stay. The equilibria of a game
    whose costs are convex in the own part solve the inclusion of the pseudo-gradient

    $$F(z) = \bigl(\nabla_{z_1} c_1(z), \dots, \nabla_{z_m} c_m(z)\bigr).$$

    Evaluating it takes one forward pass and $m$ backward ones, and memory for $m$ gradients.

    Args:
        costs: a callable from ``z`` to a sequence of scalars, one for each top-level part of ``z`` in their
            order (a dict's parts go by sorted keys; a dict of costs with the same keys will do).
        g: the proximable part, such as `frechet.convex.PerLeaf` with one function a player.
        exploitability: a callable from ``z`` to a scalar, what the players could gain by deviating alone,
            where it has a closed form; traces and comparisons show it.

    Raises:
        TypeError: a part of the wrong kind, or as many costs as there are no players.

    Source:
        Rosen 1965, Existence and uniqueness of equilibrium points for concave n-person games.

    Example:
        Two firms choose how much to sell; the price falls with what both do:

        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> costs = lambda z: [-q * (3.0 - z[0] - z[1]) for q in z]
        >>> cournot = fr.Game(costs, fr.convex.NonNegative())
        >>> [float(v) for v in cournot.operator((jnp.array(1.0), jnp.array(1.0)))]
        [0.0, 0.0]
    """

    exploitability: Callable[[PyTree[Array]], Scalar] | None = None

    def __init__(
        self,
        costs: Callable[[PyTree[Array]], Any],
        g: Function | None = None,
        exploitability: Callable[[PyTree[Array]], Scalar] | None = None,
    ):
        for name, part in {"costs": costs, "exploitability": exploitability}.items():
            if not callable(part) and (part is not None or name == "costs"):
                raise TypeError(f"{name} must be callable, got {type(part).__name__}")
        self.F = PseudoGradient(costs)
        self.g = Zero() if g is None else g
        self.exploitability = exploitability

    @property
    def costs(self) -> Callable:
        """The players' costs."""
        return self.F.of  # pyright: ignore[reportFunctionMemberAccess]

    def measures(self, x: PyTree[Array]) -> dict[str, Scalar]:
        return {} if self.exploitability is None else {"exploitability": self.exploitability(x)}

    def offers(self) -> dict[str, str]:
        return super().offers() | {"players": "parts that have objectives of their own"}

    def lifted(self, x: PyTree[Array]) -> "Game":
        measure = self.exploitability
        measure = None if measure is None else lift.lift(measure, x, what="exploitability")
        lifted = super().lifted(x)
        if measure is self.exploitability:
            return lifted  # pyright: ignore[reportReturnType]
        return lift.replaced(lifted, exploitability=measure)
