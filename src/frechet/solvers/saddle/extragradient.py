"""The extragradient method of Korpelevich."""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from frechet.core import tree
from frechet.core.solver import Solver
from frechet.problems.inclusion import Inclusion
from frechet.solvers.saddle.stepping import MonotoneMethod, MonotoneState


class Extragradient(MonotoneMethod):
    r"""Extragradient for $0 \in F(z) + \partial g(z)$: it steps from $z$ with the operator seen ahead of it.

    $$\bar z_k = \mathrm{prox}_{s g}\bigl(z_k - s F(z_k)\bigr), \qquad
      z_{k+1} = \mathrm{prox}_{s g}\bigl(z_k - s F(\bar z_k)\bigr)$$

    Converges where $F$ is monotone and $L$-Lipschitz and $s < 1/L$, where a step along $F$ alone may go round
    in circles or diverge: the gap of the average of the $\bar z_k$ is $O(1/k)$, the residual of the last
    iterate $O(1/\sqrt k)$, and both fall linearly where $F$ is strongly monotone or $F$ and $g$ are piecewise
    affine. A step costs two operators and two proximal maps.

    With batches both evaluations use the same components. A constant step then ends in a neighbourhood of
    the solution, a schedule such as `Harmonic` does not.

    The status is nonmonotone where two points prove that $F$ is not monotone and the iterates run away.

    Args:
        step_size: $s$, a number or a schedule (a function of the step's number from 0); when left out
            $0.9/L$ with the Lipschitz constant that ``F`` knows, or else an estimate by eight products with
            the Jacobian at the start. A step with $s\|F(\bar z_k) - F(z_k)\| > \|\bar z_k - z_k\|$ shows the
            estimate too low: it is raised, and the step not taken.
        batch_size: components a step, drawn with replacement; the whole operator when left out.
        average: whether ``x`` is the average of the $\bar z_k$, weighted by step sizes, instead of the last
            iterate. Residual and objective are then the average's.

    Source:
        Korpelevich 1976, The extragradient method for finding saddle points and other problems; Nemirovski
        2004, Prox-method with rate of convergence O(1/t) (averages); Khobotov 1987, Modification of the
        extragradient method (step sizes); Gorbunov, Berard, Gidel, Loizou 2022,
        Stochastic extragradient: general analysis and improved rates, arXiv 2111.08611.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> saddle = fr.Saddle(lambda x, y: (x - 1.0) * (y + 2.0))
        >>> z = fr.solve(saddle, (jnp.zeros(()), jnp.zeros(())), Extragradient(), tol=1e-4).x
        >>> [round(float(v), 3) for v in z]
        [1.0, -2.0]
    """

    share: ClassVar[float] = 0.9

    def init(self, problem: Inclusion, x0: PyTree[Array], *, key: PRNGKeyArray) -> MonotoneState:
        return self.begin(problem, x0)

    def step(self, problem: Inclusion, state: MonotoneState, *, key: PRNGKeyArray) -> MonotoneState:
        z, watch = state.iterate, state.watch
        indices = self.drawn(problem, key)
        s = state.pace.size(self.step_size, self.share, z)
        here = self.operator(problem, z, indices)
        lead = problem.prox(tree.axpy(-s, here, z), s)
        there = self.operator(problem, lead, indices)
        ahead = problem.prox(tree.axpy(-s, there, z), s)
        pace, good = state.pace.tried(self.share, z, here, lead, there)
        ahead = tree.where(good, ahead, z)
        if watch is not None:
            watch = watch.after(there, tree.subtract(there, here), tree.subtract(lead, z))
        x, weight = self.shown(state, ahead, lead, jnp.where(good, s, 0))
        return MonotoneState(x, self.charged(state.calls, 2, 2), ahead, pace, weight, watch)

    @classmethod
    def presets(cls) -> dict[str, Solver]:
        return {"Extragradient": cls(), "Extragradient:minibatch": cls(batch_size=2)}
