"""Sinkhorn's half-sweeps, by products with a plan where costs are stored."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from frechet.problems.transport import Potentials, Transport

Half = Callable[[Array], tuple[Array, Bool[Array, ""]]]


class HalfSweeps(NamedTuple):
    """The best potentials of one side for those of the other, and whether they are to be trusted.

    Attributes:
        best_g: of the targets for those of the sources: a pass over the cost or a product.
        best_f: of the sources for those of the targets.
        passes: over the cost, which setting up took.
    """

    best_g: Half
    best_f: Half
    passes: int


def half_sweeps(problem: Transport, x: Potentials) -> HalfSweeps:
    r"""Half-sweeps near ``x``.

    Where costs are stored they absorb ``x`` in a plan $P$ and multiply by it, as
    $g = g_0 + \varepsilon\log(b/P^\top e^{(f-f_0)/\varepsilon})$: a tenth of the time of logarithms of sums,
    and no less safe until scalings are so large that underflow might tell, which they say.
    """
    return _by_products(problem, x) if "plan" in problem.offers() else _by_passes(problem)


def resolution(problem: Transport, f: Float[Array, " m"]) -> Float[Array, ""]:
    """The error of marginals below which rounding of the potentials is all there is."""
    return 32 * jnp.finfo(f.dtype).eps * (1 + jnp.max(jnp.abs(f)) / problem.epsilon)


def _by_products(problem: Transport, x: Potentials) -> HalfSweeps:
    P, epsilon = problem.plan(x), problem.epsilon
    # A factor of this much on either side does not lift what has underflowed to where it tells.
    most = -jnp.log(jnp.finfo(P.dtype).tiny) / 4

    def best_g(f: Float[Array, " m"]) -> tuple[Array, Bool[Array, ""]]:
        u = (f - x.f) / epsilon
        g = problem.pulled(x.g + epsilon * jnp.log(problem.b / problem.transposed_product(P, jnp.exp(u))), 1)
        return g, jnp.max(jnp.abs(u)) <= most

    def best_f(g: Float[Array, " n"]) -> tuple[Array, Bool[Array, ""]]:
        v = (g - x.g) / epsilon
        f = problem.pulled(x.f + epsilon * jnp.log(problem.a / problem.product(P, jnp.exp(v))), 0)
        return f, jnp.max(jnp.abs(v)) <= most

    return HalfSweeps(best_g, best_f, 1)


def _by_passes(problem: Transport) -> HalfSweeps:
    def best_g(f: Float[Array, " m"]) -> tuple[Array, Bool[Array, ""]]:
        return problem.best_g(f), jnp.asarray(True)

    def best_f(g: Float[Array, " n"]) -> tuple[Array, Bool[Array, ""]]:
        return problem.best_f(g), jnp.asarray(True)

    return HalfSweeps(best_g, best_f, 0)
