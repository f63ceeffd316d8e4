"""Proximal coordinate descent on the rows of a coefficient matrix."""

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.losses.linear_model import LinearModel, is_concrete
from frechet.problems.composite import Composite
from frechet.solvers.coordinate.columns import squared_norms, take_columns


class BlockCoordinateDescentState(State):
    """``lipschitz`` are the curvature bounds $L_j$ of the rows, shape (p,)."""

    lipschitz: Float[Array, " p"]


class BlockCoordinateDescent(Solver):
    r"""Block coordinate descent for a linear model whose coefficients are penalised row by row.

    $$\min_W\; \frac1n \sum_i s_i\,\ell(W^\top x_i, y_i) + \sum_j g(W_j), \qquad
      W_j \leftarrow \mathrm{prox}_{g/L_j}\bigl(W_j - \nabla_j f(W)/L_j\bigr), \qquad
      L_j = \frac{c}{n} \sum_i s_i X_{ij}^2$$

    with $W_j$ the row of coefficients of feature $j$ and $c$ the loss's curvature bound. A step visits every
    row once, in order, and keeps the predictions $XW$ up to date, so that a row costs what a column of $X$
    does. The objective never rises. Multinomial regression with a group lasso (`frechet.convex.Rows` of
    `frechet.convex.L2`) is of this form, and so is any separable penalty; for one coefficient a feature
    `CoordinateDescent`, which works on the support, is faster.

    ``calls.coordinate`` counts updates of one entry of $W$, ``calls.matvec`` the product $XW$ that a step
    starts with. Every differentiation mode works.

    Source:
        Tseng 2001, Convergence of a block coordinate descent method for nondifferentiable minimization;
        Beck, Tetruashvili 2013, On the convergence of block coordinate descent type methods; Blondel, Seki,
        Uehara 2013, Block coordinate descent algorithms for large-scale sparse multiclass classification.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> f = fr.losses.Multinomial(jnp.array([[1.0, 0.1], [0.9, -0.1]]), jnp.array([0, 1]))
        >>> problem = fr.Composite(f, fr.convex.Rows(fr.convex.L2(0.04)))
        >>> W = fr.solve(problem, jnp.zeros((2, 2)), BlockCoordinateDescent()).x
        >>> bool(jnp.all(W[0] == 0)), bool(W[1, 0] > 0)
        (True, True)
    """

    accepts: ClassVar[type] = Composite
    needs: ClassVar[frozenset[str]] = frozenset({"linear model", "rows"})

    def fits(self, problem: Composite) -> str | None:
        reason = super().fits(problem)
        if reason:
            return reason
        c = _model(problem).curvature
        if is_concrete(c) and not math.isfinite(c):
            return f"needs a loss of bounded curvature, which {type(problem.f).__name__} has not"
        return None

    def init(self, problem: Composite, x0: Array, *, key: PRNGKeyArray) -> BlockCoordinateDescentState:
        f = _model(problem)
        f.check_prediction(jax.eval_shape(f.predict, x0))  # pyright: ignore[reportArgumentType]
        L = (f.curvature * squared_norms(f) / f.count).astype(x0.dtype)
        # A column of zeros moves freely: its bound is a tiny number in place of zero.
        least = jnp.finfo(L.dtype).eps * jnp.max(L)
        return BlockCoordinateDescentState(x0, Calls(), jnp.maximum(L, jnp.where(least > 0, least, 1)))

    def step(
        self, problem: Composite, state: BlockCoordinateDescentState, *, key: PRNGKeyArray
    ) -> BlockCoordinateDescentState:
        f, g = _model(problem), problem.g
        p = state.lipschitz.size
        columns = take_columns(f, jnp.arange(p))
        scale = jnp.asarray(1 / f.count, state.x.dtype)
        scale = scale if f.sample_weight is None else scale * f.sample_weight
        # The predictions of several outputs are moved one output at a time.
        add = columns.add if state.x.ndim == 1 else jax.vmap(columns.add, (1, None, 0), 1)

        def update(j: Int[Array, ""], carry: tuple[Array, Array]) -> tuple[Array, Array]:
            x, z = carry
            y, weight = columns.rows(j, f.y), columns.rows(j, scale)
            total = lambda z: jnp.sum(weight * f.pointwise(z, y))  # noqa: E731
            gradient = columns.entries(j) @ jax.grad(total)(columns.rows(j, z))
            step = 1 / state.lipschitz[j]
            row = g.prox_row(x[j] - step * gradient, j, step)
            return x.at[j].set(row), add(z, j, row - x[j])

        x, _ = jax.lax.fori_loop(0, p, update, (state.x, f.predict(state.x)))
        calls = state.calls.add(coordinate=state.x.size, matvec=1)
        return BlockCoordinateDescentState(x, calls, state.lipschitz)


def _model(problem: Composite) -> LinearModel:
    return problem.f  # pyright: ignore[reportReturnType]
