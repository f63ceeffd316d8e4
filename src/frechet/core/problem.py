"""The protocol of a problem: it knows what it means to be solved."""

from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree, Scalar

from frechet.core import tree


class Problem(eqx.Module):
    """Data with an objective and an optimality map.

    ``optimality(x)`` has the structure of ``x`` and is zero exactly at the solutions. It stops every
    solver, ranks solvers against each other and, by the implicit function theorem, differentiates the
    solution with respect to every inexact leaf of the problem.

    A problem without ``optimality`` has no test for being solved: its solves end when their steps are spent,
    and runs watch its ``measures`` instead.

    Attributes:
        isolated: whether solutions are isolated points. Where they form a manifold, the implicit
            derivative is the minimum-norm one.
        always_feasible: whether a lower objective is a better one wherever it is finite. Where constraints
            are met in the limit only, points are ranked by the residual.
        objective_name: what reports call the objective.
    """

    isolated: ClassVar[bool] = True
    always_feasible: ClassVar[bool] = True
    objective_name: ClassVar[str] = "objective"

    def objective(self, x: PyTree[Array]) -> Scalar:
        """The number people compare; a scalar."""
        raise NotImplementedError

    def optimality(self, x: PyTree[Array]) -> PyTree[Array]:
        """Zero exactly where ``x`` solves the problem; same structure, shapes and dtypes as ``x``."""
        raise NotImplementedError

    @property
    def testable(self) -> bool:
        """Whether it has an optimality map, by which a point can be told to be a solution."""
        return type(self).optimality is not Problem.optimality

    def conditions(self, x: PyTree[Array]) -> PyTree[Array]:
        """A map with the zeros of `optimality`, which solutions are differentiated through.

        A kind whose optimality map measures errors in other units may have another, of symmetric Jacobian.
        """
        return self.optimality(x)

    def offers(self) -> dict[str, str]:
        """The oracles that a solver may ask of this problem, each with a few words on what it is."""
        return {}

    def start(self, x0: PyTree[Array]) -> PyTree[Array]:
        """The start in the form of ``x``; a kind adds those parts that nobody wants to give."""
        return x0

    def lifted(self, x: PyTree[Array]) -> "Problem":
        """This problem with plain callables made into pytrees (see `frechet.core.lift`)."""
        return self

    def sound(self) -> Bool[Array, ""]:
        """Whether its data are numbers: no NaN, and no infinity where none makes sense."""
        return tree.all_finite(self)

    def symmetric_parts(self, x: PyTree[Array]) -> tuple[Callable, Callable] | None:
        r"""Symmetric $D$ and $H$, as products, with $\partial_x$ ``conditions`` $= I - D(I - H)$ at ``x``.

        Where a problem can name them, implicit derivatives in many unknowns use conjugate gradients.
        """
        return None

    def near_kink(self, x: PyTree[Array], distance: Scalar) -> Bool[Array, ""]:
        """Whether the optimality map is known to have a kink within about ``distance`` of ``x``.

        There a solution may have one-sided derivatives only, as where a constraint is weakly active; whoever
        takes a derivative is warned.
        """
        return jnp.asarray(False)

    def measures(self, x: PyTree[Array]) -> dict[str, Scalar]:
        """Further numbers worth watching, by name; traces and comparisons show them."""
        return {}

    def default_solver(self) -> str | None:
        """Where the solver to use lies when none is named, as ``"module:Class"``; a kind's own choice."""
        return None

    @property
    def kind(self) -> str:
        """The name of the problem's class."""
        return type(self).__name__
