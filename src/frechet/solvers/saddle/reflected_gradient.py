"""The reflected gradient method of Malitsky."""

from typing import ClassVar

import jax
from jaxtyping import Array, PRNGKeyArray, PyTree, Scalar

from frechet.core import tree
from frechet.problems.inclusion import Inclusion
from frechet.solvers.saddle.single_call import SingleCall, SingleCallState


class ReflectedGradient(SingleCall):
    r"""Reflected gradient for $0 \in F(z) + \partial g(z)$: it leads by the last step, taken once more.

    $$\bar z_k = 2 z_k - z_{k-1}, \qquad z_{k+1} = \mathrm{prox}_{s g}\bigl(z_k - s F(\bar z_k)\bigr)$$

    with $z_{-1} = z_0$. Converges where $F$ is monotone and $L$-Lipschitz and $s < (\sqrt2 - 1)/L$; rates are
    those of `PastExtragradient`. A step costs one operator and one proximal map. The operator has to be
    defined outside of the domain of $g$ too, where the $\bar z_k$ may lie.

    The status is nonmonotone where two points prove that $F$ is not monotone and the iterates run away.

    Args:
        step_size: $s$, a number or a schedule (a function of the step's number from 0); when left out
            $0.4/L$ with the Lipschitz constant that ``F`` knows, or else an estimate by eight products with
            the Jacobian at the start, raised whenever two values show it too low (those of batches cannot);
            where it was by far, the last step is undone.
        batch_size: components a step, drawn with replacement; the whole operator when left out.
        average: whether ``x`` is the average of the $\bar z_k$, weighted by step sizes, instead of the last
            $z_k$. The average may lie outside of the domain of $g$, by $O(1/k)$.

    Source:
        Malitsky 2015, Projected reflected gradient methods for monotone variational inequalities,
        arXiv 1502.04968; Hsieh, Iutzeler, Malick, Mertikopoulos 2019, On the convergence of single-call
        stochastic extra-gradient methods, NeurIPS, arXiv 1908.08465.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> saddle = fr.Saddle(lambda x, y: (x - 1.0) * (y + 2.0))
        >>> z = fr.solve(saddle, (jnp.zeros(()), jnp.zeros(())), ReflectedGradient(), tol=1e-4).x
        >>> [round(float(v), 3) for v in z]
        [1.0, -2.0]
    """

    share: ClassVar[float] = 0.4

    def step(self, problem: Inclusion, state: SingleCallState, *, key: PRNGKeyArray) -> SingleCallState:
        return self.taken(problem, state, 1, key)

    def leading(self, problem: Inclusion, state: SingleCallState, s: Scalar) -> PyTree[Array]:
        return jax.tree.map(lambda u, v: 2 * u - v, state.iterate, state.previous)

    def following(
        self, problem: Inclusion, state: SingleCallState, lead: PyTree[Array], value: PyTree[Array], s: Scalar
    ) -> PyTree[Array]:
        return problem.prox(tree.axpy(-s, value, state.iterate), s)
