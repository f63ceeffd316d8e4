"""Forward-backward Gaussian variational inference with expectations over a few draws."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, Scalar

from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.gaussian_expectations import Gaussian
from frechet.problems.gaussian_variational import GaussianVariational
from frechet.solvers.proximal.step_size import constant_or_none
from frechet.solvers.stochastic import sampling
from frechet.solvers.variational.descent import spectral_radius
from frechet.solvers.variational.forward_backward_gvi import forward_backward


class StochasticGVIState(State):
    """``x`` is the average of the iterates, ``iterate`` the last; ``curvature`` the largest Hessian drawn."""

    iterate: Gaussian
    curvature: Scalar
    updates: Int[Array, ""]


class StochasticForwardBackwardGVI(Solver):
    r"""`ForwardBackwardGVI` with gradient and Hessian at a draw for their means.

    $$m \leftarrow m - \eta\nabla V(\theta), \qquad M = I - \eta\nabla^2 V(\theta), \qquad
        S \leftarrow \mathrm{JKO}_\eta(M S M)$$

    with the same draw $\theta \sim \mathcal N(m, S)$ for both. At a constant step size iterates end in a
    neighbourhood of the solution whose size is of the order of $\eta$; ``x`` is their average, in which late
    ones weigh more. A step costs gradient and Hessian of the potential at ``batch_size`` points, or gradients
    alone.

    Args:
        step_size: a constant $\eta$; when left out 0.2 over the largest eigenvalue of the Hessians drawn.
        batch_size: draws a step.
        hessian_free: whether the Hessian's mean is estimated from gradients, as
            $S^{-1}(\theta - m)\nabla V(\theta)^\top$; of far larger variance, so that it needs small steps,
            which have to be given.
        power: iterate $t$ has a weight proportional to $t$ to this power in the average.

    Raises:
        ValueError: ``hessian_free`` without ``step_size``.

    Source:
        Diao, Balasubramanian, Chewi, Salim 2023, Forward-backward Gaussian variational inference via JKO in
        the Bures-Wasserstein space, ICML, arXiv 2304.05398; Shamir, Zhang 2013, Stochastic gradient descent
        for non-smooth optimization (the average).

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> target = fr.problems.GaussianPotential(jnp.array([1.0]), jnp.array([[4.0]]))
        >>> solver = StochasticForwardBackwardGVI()
        >>> q = fr.solve(fr.GaussianVariational(target), jnp.zeros(1), solver, max_steps=2000).x
        >>> bool(abs(q.mean[0] - 1.0) < 0.05), bool(abs(q.covariance[0, 0] - 0.25) < 0.05)
        (True, True)
    """

    accepts: ClassVar[type] = GaussianVariational
    needs: ClassVar[frozenset[str]] = frozenset({"sampled expectation"})
    stochastic: ClassVar[bool] = True
    converges: ClassVar[bool] = False
    step_size: Any = eqx.field(default=None, converter=constant_or_none)
    batch_size: int = eqx.field(default=1, static=True)
    hessian_free: bool = eqx.field(default=False, static=True)
    power: float = 3.0

    def __check_init__(self):
        sampling.check_batch_size(self.batch_size)
        if self.hessian_free and self.step_size is None:
            raise ValueError("hessian_free needs a step_size: gradients alone do not tell the curvature")

    def init(self, problem: GaussianVariational, x0: Gaussian, *, key: PRNGKeyArray) -> StochasticGVIState:
        return StochasticGVIState(x0, Calls(), x0, jnp.zeros((), x0.mean.dtype), jnp.zeros((), int))

    def step(
        self, problem: GaussianVariational, state: StochasticGVIState, *, key: PRNGKeyArray
    ) -> StochasticGVIState:
        x = state.iterate
        noise = jax.random.normal(key, (self.batch_size, len(x.mean)), x.mean.dtype)
        estimate = problem.expectation_from_gradients if self.hessian_free else problem.sampled_expectation
        drawn, curvature = estimate(x, noise), state.curvature
        if self.step_size is None:
            curvature = jnp.maximum(curvature, spectral_radius(drawn.hessian))
            size = 0.2 / curvature
        else:
            size = jnp.asarray(self.step_size, x.mean.dtype)
        x = forward_backward(problem, x, drawn, size)
        t = (state.updates + 1).astype(x.mean.dtype)
        share = (self.power + 1) / (t + self.power)
        average = jax.tree.map(lambda u, v: u + (share * (v - u)).astype(u.dtype), state.x, x)
        calls = state.calls.add(sample=self.batch_size, prox=1)
        return StochasticGVIState(average, calls, x, curvature, state.updates + 1)
