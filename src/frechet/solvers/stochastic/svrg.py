"""SVRG: stochastic gradients corrected by a full one at a snapshot."""

import equinox as eqx
import jax
from jaxtyping import Array, Int, PRNGKeyArray, PyTree, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import State
from frechet.problems.composite import Composite
from frechet.solvers.stochastic import sampling
from frechet.solvers.stochastic.batched import Batched


class SVRGState(State):
    """``step_size`` is fixed."""

    step_size: Scalar


class SVRG(Batched):
    r"""Stochastic variance reduced gradient with a prox, for $\frac1n\sum_i f_i + g$.

    A step takes a snapshot $\tilde x$ of the iterate and its full gradient, then makes $m$ updates

    $$x \leftarrow \mathrm{prox}_{s g}\Bigl(x - s\Bigl[\frac1{|B|}\sum_{i\in B}
      \bigl(\nabla f_i(x) - \nabla f_i(\tilde x)\bigr) + \nabla f(\tilde x)\Bigr]\Bigr)$$

    with batches $B$ drawn with replacement, and goes on from the last of them (option I of Johnson and Zhang;
    Xiao and Zhang analyse their average, which needs $m$ above the condition number to make progress).
    Linear where $f + g$ is strongly convex. A step costs one full gradient and $2 m |B|$ gradients of terms.

    Args:
        step_size: $s$; $1/(6L)$ when left out, with $L$ from ``f.lipschitz_terms()``.
        batch_size: $|B|$.
        inner: $m$; $2n/|B|$ when left out.

    Source:
        Johnson, Zhang 2013, Accelerating stochastic gradient descent using predictive variance reduction;
        Xiao, Zhang 2014, A proximal stochastic gradient method with progressive variance reduction,
        arXiv 1403.4699; the default step size: Kovalev, Horváth, Richtárik 2020, Don't jump through hoops
        and remove those loops, arXiv 1901.08689.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> X, y = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), jnp.array([1.0, 2.0, 3.0])
        >>> problem = fr.Composite(fr.losses.Squared(X, y), fr.convex.NonNegative())
        >>> fr.solve(problem, jnp.zeros(2), SVRG(), tol=1e-4).x.round(2).tolist()
        [1.0, 2.0]
    """

    inner: int | None = eqx.field(default=None, static=True)

    def __check_init__(self):
        if self.inner is not None and self.inner < 1:
            raise ValueError(f"inner must be a positive integer, got {self.inner}")

    def init(self, problem: Composite, x0: PyTree[Array], *, key: PRNGKeyArray) -> SVRGState:
        return SVRGState(
            x0, Calls(), sampling.initial_step_size(problem, x0, self.step_size, self.batch_size, 6.0)
        )

    def step(self, problem: Composite, state: SVRGState, *, key: PRNGKeyArray) -> SVRGState:
        s, snapshot, b = state.step_size, state.x, self.batch_size
        m = 2 * sampling.rounds(problem, b) if self.inner is None else self.inner
        full = problem.gradient(snapshot)

        def update(x: PyTree[Array], indices: Int[Array, " batch"]) -> tuple:
            here = problem.sample_value_and_gradient(x, indices)[1]
            there = problem.sample_value_and_gradient(snapshot, indices)[1]
            direction = jax.tree.map(lambda u, v, w: u - v + w, here, there, full)
            return problem.prox(tree.axpy(-s, direction, x), s), None

        x, _ = jax.lax.scan(update, snapshot, sampling.draw(key, problem, m, b))
        return SVRGState(x, state.calls.add(gradient=1, sample=2 * m * b, prox=m), s)
