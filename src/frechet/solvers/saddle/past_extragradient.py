"""Past extragradient: the extragradient method of Popov, with one operator evaluation a step."""

from typing import ClassVar

from jaxtyping import Array, PRNGKeyArray, PyTree, Scalar

from frechet.core import tree
from frechet.core.solver import Solver
from frechet.problems.inclusion import Inclusion
from frechet.solvers.saddle.single_call import SingleCall, SingleCallState


class PastExtragradient(SingleCall):
    r"""Past extragradient for $0 \in F(z) + \partial g(z)$: it leads by the operator's last value.

    $$\bar z_k = \mathrm{prox}_{s g}\bigl(z_k - s F(\bar z_{k-1})\bigr), \qquad
      z_{k+1} = \mathrm{prox}_{s g}\bigl(z_k - s F(\bar z_k)\bigr)$$

    with $F(\bar z_{-1}) = 0$. Converges where $F$ is monotone and $L$-Lipschitz and $s \le 1/(2L)$: the gap
    of the average of the $\bar z_k$ is $O(1/k)$, and the iterates converge linearly where $F$ is strongly
    monotone; with noise and steps $c/(k + b)$, $c > 1/\mu$, at $O(1/k)$. A step costs one operator, half of
    what `Extragradient` takes, and two proximal maps. Of the methods with one operator a step it is the one
    whose points all lie in the domain of $g$, and the one that the stochastic theory is for.

    The status is nonmonotone where two points prove that $F$ is not monotone and the iterates run away.

    Args:
        step_size: $s$, a number or a schedule (a function of the step's number from 0); when left out
            $0.45/L$ with the Lipschitz constant that ``F`` knows, or else an estimate by eight products with
            the Jacobian at the start, raised whenever two values show it too low (those of batches cannot);
            where it was by far, the last step is undone.
        batch_size: components a step, drawn with replacement; the whole operator when left out. A constant
            step then ends in a neighbourhood of the solution, a schedule such as `Harmonic` does not.
        average: whether ``x`` is the average of the $\bar z_k$, weighted by step sizes, instead of the last
            $z_k$. Residual and objective are then the average's.

    Source:
        Popov 1980, A modification of the Arrow-Hurwicz method for search of saddle points; Hsieh, Iutzeler,
        Malick, Mertikopoulos 2019, On the convergence of single-call stochastic extra-gradient methods,
        NeurIPS, arXiv 1908.08465.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> saddle = fr.Saddle(lambda x, y: (x - 1.0) * (y + 2.0))
        >>> z = fr.solve(saddle, (jnp.zeros(()), jnp.zeros(())), PastExtragradient(), tol=1e-4).x
        >>> [round(float(v), 3) for v in z]
        [1.0, -2.0]
    """

    share: ClassVar[float] = 0.45

    def step(self, problem: Inclusion, state: SingleCallState, *, key: PRNGKeyArray) -> SingleCallState:
        return self.taken(problem, state, 2, key)

    def leading(self, problem: Inclusion, state: SingleCallState, s: Scalar) -> PyTree[Array]:
        return problem.prox(tree.axpy(-s, state.value, state.iterate), s)

    def following(
        self, problem: Inclusion, state: SingleCallState, lead: PyTree[Array], value: PyTree[Array], s: Scalar
    ) -> PyTree[Array]:
        return problem.prox(tree.axpy(-s, value, state.iterate), s)

    @classmethod
    def presets(cls) -> dict[str, Solver]:
        return {"PastExtragradient": cls(), "PastExtragradient:minibatch": cls(batch_size=2)}
