"""Means of measures: barycenters for entropic transport, on a fixed support."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Scalar

from frechet.convex.parameters import float_array, known
from frechet.core.solve import solve
from frechet.core.solver import Solver
from frechet.core.status import Status
from frechet.problems.equations import FixedPoint
from frechet.solvers.fixed_point.anderson import Anderson
from frechet.transport.cost_matrix import CostMatrix
from frechet.transport.entropic import Entropic
from frechet.transport.ground_cost import GroundCost


class Barycenter(eqx.Module):
    """What `barycenter` returns.

    Attributes:
        histogram: the mean, shape (n,), of sum 1.
        status: how the solve ended.
        residual: by how much a further step changes logarithms of scalings, a norm.
        steps: how many steps it took.
    """

    histogram: Float[Array, " n"]
    status: Status
    residual: Scalar
    steps: Int[Array, "*batch"]


def barycenter(
    cost: GroundCost | Float[Array, "m n"],
    histograms: Float[Array, "k m"],
    weights: Float[Array, " k"] | None = None,
    *,
    epsilon: Any = 0.01,
    relative: bool = True,
    solver: Solver | None = None,
    tol: float | Scalar | None = None,
    max_steps: int = 10_000,
) -> Barycenter:
    r"""The histogram $q$ that is nearest to others: least $\sum_k \lambda_k D_\varepsilon(a_k, q)$,

    with $D_\varepsilon(a, q) = \min_P \langle P, C\rangle - \varepsilon H(P)$ over plans between the two,
    $H(P) = -\sum P\log P$. It is blurred: with $C = |x-y|^2$ variances grow by about $\varepsilon/2$. A
    round of scalings, in logarithms, takes a pass over the cost and one over its transpose for each
    histogram, and rounds are extrapolated by Anderson's method; on a `Grid` a pass is cheap.

    Differentiable in weights, histograms and cost, by the implicit function theorem.

    Args:
        cost: between the places of the histograms and those of the mean, shape (m, n), as of `fr.Transport`.
        histograms: $a_k$, a row each, nonnegative and of sum 1, shape (k, m). Derivatives in them need
            positive ones.
        weights: $\lambda$, of sum 1; uniform when left out.
        epsilon: $\varepsilon > 0$.
        relative: whether ``epsilon`` is in units of the mean cost.
        solver: of the fixed-point problem; `Anderson` when left out.
        tol: residual to reach; the square root of the dtype's epsilon when left out.
        max_steps: most steps to take.

    Returns:
        A `Barycenter`.

    Raises:
        ValueError: shapes that disagree, histograms with negative entries or not of sum 1.

    Source:
        Benamou, Carlier, Cuturi, Nenna, Peyré 2015, Iterative Bregman projections for regularized
        transportation problems, arXiv 1412.5154; the blur: Janati, Cuturi, Gramfort 2020, Debiased
        Sinkhorn barycenters, arXiv 2006.02575.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> corners = jnp.array([[1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 1.0]])
        >>> barycenter(fr.transport.Grid.squared((5,)), corners).histogram.round(2).tolist()
        [0.0, 0.0, 1.0, 0.0, 0.0]
    """
    cost = cost if isinstance(cost, GroundCost) else CostMatrix(cost)
    m, a = cost.shape[0], jnp.asarray(histograms, cost.dtype)
    if a.ndim != 2 or a.shape[1] != m or not len(a):
        raise ValueError(f"histograms have shape (k, {m}) for this cost, got {a.shape}")
    if known(a) and (np.min(a) < 0 or np.max(np.abs(np.sum(a, 1) - 1)) > 1e-3):
        raise ValueError("histograms are nonnegative and of sum 1; divide each by its sum")
    k = len(a)
    weights = jnp.full(k, 1 / k, a.dtype) if weights is None else float_array(weights).astype(a.dtype)
    if weights.shape != (k,):
        raise ValueError(f"weights have shape {weights.shape} for {k} histograms")
    epsilon = Entropic(epsilon, relative).resolved(cost).epsilon
    scaling = _Scaling(cost.stored(), a / jnp.sum(a, 1, keepdims=True), weights, epsilon)
    return _barycenter(scaling, Anderson() if solver is None else solver, tol, max_steps)


class _Scaling(eqx.Module):
    """A round of scalings, as a map of the histograms' log-potentials."""

    cost: GroundCost
    a: Float[Array, "k m"]
    weights: Float[Array, " k"]
    epsilon: Scalar

    def soft(self, cost: GroundCost, potentials: Array, log_weights: Array) -> Array:
        """Minus the logarithms of what arrives, for each histogram."""
        one = lambda f, a: cost.soft_columns(self.epsilon * f, a, self.epsilon) / self.epsilon  # noqa: E731
        return jax.vmap(one)(potentials, jnp.broadcast_to(log_weights, potentials.shape))

    def mean(self, f: Float[Array, "k m"]) -> tuple[Float[Array, " n"], Float[Array, "k n"]]:
        """The logarithms of the mean, and the potentials with which each plan arrives at it."""
        lacking = self.soft(self.cost, f, jnp.log(self.a))
        log_q = -self.weights @ lacking
        return log_q, log_q + lacking

    def __call__(self, f: Float[Array, "k m"]) -> Float[Array, "k m"]:
        f = self.soft(self.cost.T, self.mean(f)[1], jnp.zeros((), f.dtype))
        # Constants may pass between the two sides of each plan, but for their weighted mean.
        free = jnp.mean(f, 1)
        return f - (free - self.weights @ free)[:, None]


@eqx.filter_jit
def _barycenter(scaling: _Scaling, solver: Solver, tol: Any, max_steps: int) -> Barycenter:
    zero = jnp.zeros_like(scaling.a)
    s = solve(FixedPoint(scaling), zero, solver, tol=tol, max_steps=max_steps)
    return Barycenter(jax.nn.softmax(scaling.mean(s.x)[0]), s.status, s.residual, s.steps)
