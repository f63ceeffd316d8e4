"""The directions of single-loop methods: descent at both levels and in the adjoint variable."""

from typing import NamedTuple

from jaxtyping import Array, PyTree

from frechet.core import tree
from frechet.problems.bilevel import Bilevel
from frechet.solvers.bilevel.batches import Indices


class Inner(NamedTuple):
    r"""What the directions ask of the lower objective.

    Attributes:
        slope: $\nabla_y g$.
        curved: $\nabla^2_{yy} g\, v$.
        crossed: $\nabla^2_{xy} g\, v$.
    """

    slope: PyTree[Array]
    curved: PyTree[Array]
    crossed: PyTree[Array]


def inner_parts(
    problem: Bilevel, x: PyTree[Array], y: PyTree[Array], v: PyTree[Array], indices: Indices
) -> Inner:
    """Those at a point, over a batch of terms: a gradient and a second-order product."""
    crossed, curved = problem.inner_products(x, y, v, indices)
    return Inner(problem.inner_gradient(x, y, indices), curved, crossed)


def directions(inner: Inner, outer: tuple) -> tuple[PyTree[Array], PyTree[Array], PyTree[Array]]:
    r"""$(\nabla_y g,\; \nabla^2_{yy} g\,v + \nabla_y f,\; \nabla^2_{xy} g\,v + \nabla_x f)$.

    All are zero exactly where $y$ solves the lower problem, $v = -(\nabla^2_{yy} g)^{-1}\nabla_y f$ and the
    hypergradient, which the last one then is, vanishes.

    Args:
        inner: the lower objective's part.
        outer: the upper objective's gradients in $x$ and $y$.
    """
    outer_x, outer_y = outer
    return inner.slope, tree.axpy(1.0, inner.curved, outer_y), tree.axpy(1.0, inner.crossed, outer_x)
