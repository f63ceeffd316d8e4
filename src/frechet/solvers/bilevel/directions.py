"""The directions of single-loop methods: descent at both levels and in the adjoint variable."""

from typing import NamedTuple

from jaxtyping import Array, PyTree

from frechet.core import tree
from frechet.problems.bilevel import Bilevel
from frechet.solvers.bilevel.batches import Indices


class Parts(NamedTuple):
    r"""What the directions are made of, each a mean over terms.

    Attributes:
        slope: $\nabla_y g$.
        curved: $\nabla^2_{yy} g\, v$.
        crossed: $\nabla^2_{xy} g\, v$.
        outer_lower: $\nabla_y f$.
        outer_upper: $\nabla_x f$.
    """

    slope: PyTree[Array]
    curved: PyTree[Array]
    crossed: PyTree[Array]
    outer_lower: PyTree[Array]
    outer_upper: PyTree[Array]


def parts(
    problem: Bilevel, x: PyTree[Array], y: PyTree[Array], v: PyTree[Array], outer: Indices, inner: Indices
) -> Parts:
    """Those at a point, over batches of terms: a gradient of each level and one second-order product."""
    outer_upper, outer_lower = problem.outer_gradients(x, y, outer)
    crossed, curved = problem.inner_products(x, y, v, inner)
    return Parts(problem.inner_gradient(x, y, inner), curved, crossed, outer_lower, outer_upper)


def directions(p: Parts) -> tuple[PyTree[Array], PyTree[Array], PyTree[Array]]:
    r"""$(D_y, D_v, D_x)$, all zero exactly where $x$ is stationary, $y$ solves the lower problem and
    $v = -(\nabla^2_{yy} g)^{-1}\nabla_y f$."""
    D_v = tree.axpy(1.0, p.curved, p.outer_lower)
    return p.slope, D_v, tree.axpy(1.0, p.crossed, p.outer_upper)
