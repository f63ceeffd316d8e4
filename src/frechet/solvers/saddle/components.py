"""What variance-reduced methods for inclusions share: how steep the components are."""

from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import Solver
from frechet.problems.inclusion import Inclusion
from frechet.solvers.saddle import lipschitz


class Steepness(NamedTuple):
    r"""How steep components are on average.

    Attributes:
        lipschitz: $L$ with $\mathbb E\|F_i(u) - F_i(v)\|^2 \le L^2 \|u - v\|^2$.
        cocoercive: $L$ with $\mathbb E\|F_i(u) - F_i(v)\|^2 \le L \langle F(u) - F(v), u - v\rangle$.
        calls: what it took to know.
    """

    lipschitz: Scalar
    cocoercive: Scalar
    calls: Calls


def steepness(problem: Inclusion, z: PyTree[Array]) -> Steepness:
    """By what the components know themselves, or else seen at ``z`` in the steepest direction of their mean.

    Gradients of convex functions are as cocoercive as they are Lipschitz, and taken to be these where the
    components know their Lipschitz constants. What is seen takes one pass over the components.
    """
    dtype = jnp.finfo(jnp.result_type(*jax.tree.leaves(z))).dtype
    known = getattr(problem.F, "lipschitz_terms", None)
    if known is not None:
        L = known()
        both, calls = (jnp.sqrt(jnp.mean(L**2)), jnp.max(L)), Calls()
    else:
        _, v, calls = lipschitz.steepest(problem, z, Calls())

        def product(i: Array) -> PyTree[Array]:
            return jax.jvp(lambda z: problem.sample_operator(z, i[None]), (z,), (v,))[1]

        Jv = jax.vmap(product)(jnp.arange(problem.count))
        square = jnp.mean(jax.vmap(tree.norm)(Jv) ** 2)
        along = tree.vdot(jax.tree.map(lambda u: jnp.mean(u, axis=0), Jv), v)
        both = jnp.sqrt(square), jnp.where(along > 0, square / along, jnp.sqrt(square))
        calls = calls.add(sample=problem.count)
    a, b = (jax.lax.stop_gradient(jnp.where(L > 0, L, 1).astype(dtype)) for L in both)
    return Steepness(a, b, calls)


class ComponentMethod(Solver):
    """A solver that corrects components of the operator by evaluations of all of it.

    Attributes:
        lipschitz: a constant of the components, of the kind that the method's theory asks for; that of
            `steepness` when left out.
    """

    accepts: ClassVar[type] = Inclusion
    needs: ClassVar[frozenset[str]] = frozenset({"operator", "prox", "sample"})
    stochastic: ClassVar[bool] = True
    lipschitz: float | Scalar | None = eqx.field(
        default=None, converter=lipschitz.positive_or_none, kw_only=True
    )

    def constant(self, problem: Inclusion, z: PyTree[Array], cocoercive: bool) -> tuple[Scalar, Calls]:
        """The constant given, or one of the two of `steepness`; and the calls it took."""
        if self.lipschitz is None:
            seen = steepness(problem, z)
            return (seen.cocoercive if cocoercive else seen.lipschitz), seen.calls
        dtype = jnp.finfo(jnp.result_type(*jax.tree.leaves(z))).dtype
        return jnp.asarray(self.lipschitz, dtype), Calls()
