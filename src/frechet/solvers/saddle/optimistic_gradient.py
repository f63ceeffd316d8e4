"""The optimistic gradient method, which is forward-reflected-backward splitting."""

from typing import ClassVar

import jax
from jaxtyping import Array, PRNGKeyArray, PyTree, Scalar

from frechet.core import tree
from frechet.problems.inclusion import Inclusion
from frechet.solvers.saddle.single_call import SingleCall, SingleCallState


class OptimisticGradient(SingleCall):
    r"""Optimistic gradient, or forward-reflected-backward, for $0 \in F(z) + \partial g(z)$.

    $$\bar z_{k+1} = \mathrm{prox}_{s_{k+1} g}\Bigl(\bar z_k - s_{k+1} F(\bar z_k)
      - s_k\bigl(F(\bar z_k) - F(\bar z_{k-1})\bigr)\Bigr)$$

    with $F(\bar z_{-1}) = 0$, so that the first step goes half as far. On a saddle point it is known as
    optimistic gradient descent-ascent. Converges where $F$ is monotone and $L$-Lipschitz and $s < 1/(2L)$;
    rates are those of `PastExtragradient`. A step costs one operator and one proximal map.

    The status is nonmonotone where two points prove that $F$ is not monotone and the iterates run away.

    Args:
        step_size: $s$, a number or a schedule (a function of the step's number from 0); when left out
            $0.45/L$ with the Lipschitz constant that ``F`` knows, or else an estimate by eight products with
            the Jacobian at the start, raised whenever two values show it too low (those of batches cannot);
            where it was by far, the last step is undone.
        batch_size: components a step, drawn with replacement; the whole operator when left out.
        average: whether ``x`` is the average of the $\bar z_k$, weighted by step sizes, instead of the last.

    Source:
        Malitsky, Tam 2020, A forward-backward splitting method for monotone inclusions without cocoercivity,
        arXiv 1808.04162; Daskalakis, Ilyas, Syrgkanis, Zeng 2018, Training GANs with optimism,
        arXiv 1711.00141; Hsieh, Iutzeler, Malick, Mertikopoulos 2019, On the convergence of single-call
        stochastic extra-gradient methods, NeurIPS, arXiv 1908.08465.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> saddle = fr.Saddle(lambda x, y: (x - 1.0) * (y + 2.0))
        >>> z = fr.solve(saddle, (jnp.zeros(()), jnp.zeros(())), OptimisticGradient(), tol=1e-4).x
        >>> [round(float(v), 3) for v in z]
        [1.0, -2.0]
    """

    share: ClassVar[float] = 0.45

    def step(self, problem: Inclusion, state: SingleCallState, *, key: PRNGKeyArray) -> SingleCallState:
        return self.taken(problem, state, 1, key)

    def leading(self, problem: Inclusion, state: SingleCallState, s: Scalar) -> PyTree[Array]:
        return problem.prox(tree.axpy(-s, state.value, state.iterate), s)

    def following(
        self, problem: Inclusion, state: SingleCallState, lead: PyTree[Array], value: PyTree[Array], s: Scalar
    ) -> PyTree[Array]:
        return jax.tree.map(
            lambda h, past, now: (h + s * (past - now)).astype(h.dtype), lead, state.value, value
        )

    def last(self, base: PyTree[Array], lead: PyTree[Array]) -> PyTree[Array]:
        return lead
