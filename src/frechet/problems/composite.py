"""Smooth plus proximable: the kind that most of the library solves."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Bool, Int, PyTree, Scalar

from frechet.convex.function import Function
from frechet.convex.geometry import Geometry
from frechet.convex.zero import Zero
from frechet.core import lift, tree
from frechet.problems.minimisation import Minimisation
from frechet.problems.smooth_part import SmoothPart
from frechet.problems.start import within_bounds


class Composite(SmoothPart, Minimisation):
    r"""Minimise $f(x) + g(x)$, with $f$ smooth and $g$ convex with a known proximal map.

    A constraint set is its indicator. With ``g`` left out the problem is smooth.
    The optimality map is the forward-backward residual

    $$F(x) = x - \mathrm{prox}_g\bigl(x - \nabla f(x)\bigr),$$

    which is the gradient itself where $g = 0$.

    Args:
        f: the smooth part, a callable from a pytree ``x`` to a scalar; a plain function (whose captured
            arrays become differentiable leaves) or a module such as ``fr.losses.Logistic(X, y)``.
        g: the proximable part.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.Composite(lambda x: jnp.sum((x - 1) ** 2), fr.convex.L1(2.0))
        >>> float(problem.objective(jnp.zeros(3)))
        3.0
        >>> problem.optimality(jnp.zeros(3)).tolist()
        [0.0, 0.0, 0.0]
    """

    f: Callable[[PyTree[Array]], Scalar]
    g: Function = eqx.field(default_factory=Zero)

    def __check_init__(self):
        if not callable(self.f):
            raise TypeError(f"f must be callable, got {type(self.f).__name__}")

    # The oracles besides those of f and g alone.

    def linear_min(self, direction: PyTree[Array]) -> PyTree[Array]:
        """A point of the set least in ``direction``; where ``g`` is the indicator of a bounded one."""
        return self.g.linear_min(direction)

    def vertex_products(self, direction: PyTree[Array]) -> Array:
        """Inner products of the set's vertices with ``direction``; where ``g`` is a polytope's indicator."""
        return self.g.vertex_products(direction)  # pyright: ignore[reportAttributeAccessIssue]

    def bregman_step(
        self, geometry: Geometry, x: PyTree[Array], gradient: PyTree[Array], step: Any
    ) -> PyTree[Array]:
        """A proximal step along ``-gradient`` in another geometry."""
        return geometry.step(self.g, x, gradient, step)

    def sample_value_and_gradient(
        self, x: PyTree[Array], indices: Int[Array, " batch"]
    ) -> tuple[Scalar, PyTree[Array]]:
        """Mean value and gradient of the terms at ``indices``; where ``f`` is a finite sum."""
        term = self.f.sampled(indices)  # pyright: ignore[reportFunctionMemberAccess]
        return jax.value_and_grad(lambda x: lift.call(term, x))(x)

    @property
    def count(self) -> int:
        """How many terms there are; where ``f`` is a finite sum."""
        return self.f.count  # pyright: ignore[reportFunctionMemberAccess]

    # What it means to be solved.

    def objective(self, x: PyTree[Array]) -> Scalar:
        return self.value(x) + self.g(x)

    def optimality(self, x: PyTree[Array]) -> PyTree[Array]:
        return self.g.residual(x, jax.grad(Composite.value, argnums=1)(self, x))

    def near_kink(self, x: PyTree[Array], distance: Scalar) -> Bool[Array, ""]:
        return self.g.near_kink(tree.subtract(x, self.gradient(x)), distance)

    def symmetric_parts(self, x: PyTree[Array]) -> tuple[Callable, Callable]:
        gradient, H = jax.linearize(self.gradient, x)
        if self.g.smooth:
            return lambda v: v, H
        _, D = jax.linearize(lambda z: self.prox(z, 1.0), tree.subtract(x, gradient))
        return D, H

    def offers(self) -> dict[str, str]:
        offered = {
            "value": "f(x)",
            "gradient": "the gradient of f",
            "hvp": "Hessian-vector products of f",
        }
        return offered | self.g.oracles() | getattr(self.f, "offers", dict)()

    def start(self, x0: PyTree[Array]) -> PyTree[Array]:
        return within_bounds(self.g, x0)

    def lifted(self, x: PyTree[Array]) -> "Composite":
        f = lift.lift(self.f, x, what="objective")
        return self if f is self.f else lift.replaced(self, f=f)

    def sound(self) -> Bool[Array, ""]:
        return tree.all_finite(self.f) & tree.no_nan(self.g)  # bounds and weights may be infinite

    def default_solver(self) -> str:
        if self.g.smooth:
            return "frechet.solvers.second_order.newton_cg:NewtonCG"
        return "frechet.solvers.proximal.fista:FISTA"
