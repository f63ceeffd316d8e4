"""Monotone inclusions and variational inequalities: an operator first, an objective second."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
from jaxtyping import Array, Bool, Int, PyTree, Scalar

from frechet.convex.function import Function
from frechet.convex.zero import Zero
from frechet.core import lift, tree
from frechet.core.problem import Problem
from frechet.problems.equations import half_square
from frechet.problems.finite_sum import Mean
from frechet.problems.start import within_bounds


class Inclusion(Problem):
    r"""Find $z$ with $0 \in F(z) + \partial g(z)$, where $F$ is an operator and $g$ has a proximal map.

    With the indicator of a set $C$ for $g$ this is the variational inequality
    $\langle F(z), w - z\rangle \ge 0$ for all $w \in C$; with ``g`` left out the equation $F(z) = 0$.
    $F$ need not be a gradient. What most methods need is that it is monotone,
    $\langle F(z) - F(w), z - w\rangle \ge 0$, and Lipschitz. The optimality map is the natural residual

    $$z - \mathrm{prox}_g\bigl(z - F(z)\bigr),$$

    $F$ itself where $g = 0$, and the objective half its squared norm.

    An operator that is a module may say more of itself, by methods as losses have them: ``lipschitz()``, a
    Lipschitz constant that solvers derive steps from; and, where it is a mean of components,
    ``sampled(indices)``, ``count``, ``lipschitz_terms()`` and ``offers()`` with a key ``"sample"``.

    Args:
        F: a callable from a pytree ``z`` to a pytree of the same structure, shapes and dtypes.
        g: the proximable part, a convex function or the indicator of a convex set.

    Raises:
        TypeError: ``F`` is not callable, ``g`` is no `frechet.convex.Function`, ``F(z)`` is not like ``z``.

    Source:
        Facchinei, Pang 2003, Finite-Dimensional Variational Inequalities and Complementarity Problems
        (natural residual: section 1.5).

    Example:
        A rotation, which is monotone and no gradient, on the nonnegative quadrant:

        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> F = lambda z: jnp.stack([z[1] - 1.0, 2.0 - z[0]])
        >>> problem = fr.Inclusion(F, fr.convex.NonNegative())
        >>> problem.optimality(jnp.array([2.0, 1.0])).tolist()
        [0.0, 0.0]
        >>> float(problem.objective(jnp.array([2.0, 0.0])))
        0.5
    """

    F: Callable[[PyTree[Array]], PyTree[Array]]
    g: Function = eqx.field(default_factory=Zero)

    def __check_init__(self):
        if not callable(self.F):
            raise TypeError(f"F must be callable, got {type(self.F).__name__}")
        if not isinstance(self.g, Function):
            raise TypeError(f"g must be a frechet.convex.Function, got {type(self.g).__name__}")

    # The oracles.

    def operator(self, z: PyTree[Array]) -> PyTree[Array]:
        """$F(z)$, in the form of ``z``."""
        out = lift.call(self.F, z)
        tree.require_like(z, out, "F(x)")
        return out

    def prox(self, z: PyTree[Array], step: Any) -> PyTree[Array]:
        r"""Proximal map of ``step * g``, which is the resolvent of ``step`` times $\partial g$."""
        return self.g.prox(z, step)

    def sample_operator(self, z: PyTree[Array], indices: Int[Array, " batch"]) -> PyTree[Array]:
        """Mean at ``z`` of the components at ``indices``; where ``F`` is a mean of components.

        The same indices may be asked for at several points.
        """
        return lift.call(self.F.sampled(indices), z)  # pyright: ignore[reportFunctionMemberAccess]

    @property
    def count(self) -> int:
        """How many components there are; where ``F`` is a mean of components."""
        return self.F.count  # pyright: ignore[reportFunctionMemberAccess]

    # What it means to be solved.

    def objective(self, x: PyTree[Array]) -> Scalar:
        return half_square(self.optimality(x))

    def optimality(self, x: PyTree[Array]) -> PyTree[Array]:
        return self.g.residual(x, Inclusion.operator(self, x))

    def near_kink(self, x: PyTree[Array], distance: Scalar) -> Bool[Array, ""]:
        return self.g.near_kink(tree.subtract(x, Inclusion.operator(self, x)), distance)

    def offers(self) -> dict[str, str]:
        return {"operator": "F(z)"} | self.g.oracles() | getattr(self.F, "offers", dict)()

    def start(self, x0: PyTree[Array]) -> PyTree[Array]:
        return within_bounds(self.g, x0)

    def lifted(self, x: PyTree[Array]) -> "Inclusion":
        F = lift.lift(self.F, x, what="operator")
        return self if F is self.F else lift.replaced(self, F=F)

    def sound(self) -> Bool[Array, ""]:
        return tree.all_finite(self.F) & tree.no_nan(self.g)  # bounds and weights may be infinite

    def default_solver(self) -> str:
        return "frechet.solvers.saddle.extragradient:Extragradient"


class FiniteSumInclusion(Inclusion):
    r"""Find $z$ with $0 \in \frac1n\sum_{i=1}^n F_i(z) + \partial g(z)$; an `Inclusion` that can be sampled.

    Args:
        component: $F_i$ as ``component(z, one_datum)``, in the form of ``z``.
        data: a pytree of arrays that share their leading axis of length $n$.
        g: the proximable part.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.FiniteSumInclusion(lambda z, d: z - d, jnp.array([[1.0], [2.0], [6.0]]))
        >>> problem.operator(jnp.zeros(1)).tolist(), problem.count
        ([-3.0], 3)
        >>> problem.sample_operator(jnp.zeros(1), jnp.array([0, 1])).tolist()
        [-1.5]
    """

    def __init__(self, component: Callable, data: PyTree[Array], g: Function | None = None):
        if not callable(component):
            raise TypeError(f"component must be callable, got {type(component).__name__}")
        self.F = Mean(component, data)
        self.g = Zero() if g is None else g


class Derived(eqx.Module):
    """An operator made of derivatives of ``of``, of which it has whatever else that says of itself.

    Attributes:
        of: the function; its Lipschitz constants are those of its gradient.
    """

    of: Callable

    @property
    def lipschitz(self) -> Callable[[], Scalar]:
        """A Lipschitz constant; an `AttributeError` where the function knows none."""
        return self.of.lipschitz  # pyright: ignore[reportFunctionMemberAccess]

    @property
    def lipschitz_terms(self) -> Callable[[], Array]:
        """Those of the components, likewise."""
        return self.of.lipschitz_terms  # pyright: ignore[reportFunctionMemberAccess]

    @property
    def count(self) -> int:
        """How many components there are."""
        return self.of.count  # pyright: ignore[reportFunctionMemberAccess]

    def sampled(self, indices: Int[Array, " batch"]) -> "Derived":
        """The same of the mean over the terms at ``indices``."""
        return type(self)(self.of.sampled(indices))  # pyright: ignore[reportFunctionMemberAccess]

    def offers(self) -> dict[str, str]:
        """Components, where the function is a mean of terms."""
        sampled = "sample" in getattr(self.of, "offers", dict)()
        return {"sample": "the operator of single terms"} if sampled else {}
