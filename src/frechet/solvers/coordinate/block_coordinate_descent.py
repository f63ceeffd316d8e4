"""Proximal coordinate descent on the rows of a coefficient matrix."""

import abc
import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, Scalar

from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.losses.linear_model import LinearModel, is_concrete
from frechet.problems.composite import Composite
from frechet.solvers.coordinate.columns import Columns, squared_norms, take_columns


class PredictionModel(eqx.Module):
    r"""A smooth $f(W) = h(AW) + \langle b, W\rangle$, with what it takes to change a row of $W$.

    `BlockCoordinateDescent` makes one of a linear model; one of your own may stand in its place as the smooth
    part of a composite problem.
    """

    @abc.abstractmethod
    def __call__(self, x: Float[Array, "p ..."]) -> Scalar:
        """$f(W)$."""

    @abc.abstractmethod
    def predict(self, x: Float[Array, "p ..."]) -> Array:
        """The predictions $AW$."""

    @abc.abstractmethod
    def row_gradient(self, z: Array, j: Int[Array, ""]) -> Array:
        """The gradient with respect to row j of $W$, where the predictions are ``z``."""

    @abc.abstractmethod
    def moved(self, z: Array, j: Int[Array, ""], change: Array) -> Array:
        """The predictions after ``change`` is added to row j of $W$."""

    @abc.abstractmethod
    def row_curvature(self) -> Float[Array, " p"]:
        """Bounds on the curvature in each row, shape (p,)."""

    def offers(self) -> dict[str, str]:
        """The oracles beyond value and gradient."""
        return {"row gradients": "gradients of single rows, from predictions A W"}


class LossRows(PredictionModel):
    """A linear model as a `PredictionModel`."""

    model: LinearModel
    columns: Columns
    scale: Array

    @staticmethod
    def of(model: LinearModel, x: Array) -> "LossRows":
        """With all columns at hand; ``x`` is the coefficients, or like them."""
        scale = jnp.asarray(1 / model.count, x.dtype)
        scale = scale if model.sample_weight is None else scale * model.sample_weight
        return LossRows(model, take_columns(model, jnp.arange(x.shape[0])), scale)

    def __call__(self, x: Float[Array, "p ..."]) -> Scalar:
        return self.model(x)

    def predict(self, x: Float[Array, "p ..."]) -> Array:
        return self.model.predict(x)

    def row_gradient(self, z: Array, j: Int[Array, ""]) -> Array:
        y, weight = self.columns.rows(j, self.model.y), self.columns.rows(j, self.scale)
        total = lambda z: jnp.sum(weight * self.model.pointwise(z, y))  # noqa: E731
        return self.columns.entries(j) @ jax.grad(total)(self.columns.rows(j, z))

    def moved(self, z: Array, j: Int[Array, ""], change: Array) -> Array:
        # The predictions of several outputs are moved one output at a time.
        add = self.columns.add if z.ndim == 1 else jax.vmap(self.columns.add, (1, None, 0), 1)
        return add(z, j, change)

    def row_curvature(self) -> Float[Array, " p"]:
        return self.model.curvature * squared_norms(self.model) / self.model.count


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
    `CoordinateDescent`, which works on the support, is faster. The smooth part may also be a function of a
    linear map of one's own, a `PredictionModel` with bounds $L_j$ on its curvature in each row.

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
    needs: ClassVar[frozenset[str]] = frozenset({"rows"})

    def fits(self, problem: Composite) -> str | None:
        reason = super().fits(problem)
        if reason:
            return reason
        f = problem.f
        if isinstance(f, PredictionModel):
            return None
        if not isinstance(f, LinearModel):
            return f"needs linear model, which this {problem.kind} does not offer"
        if is_concrete(f.curvature) and not math.isfinite(f.curvature):
            return f"needs a loss of bounded curvature, which {type(f).__name__} has not"
        return None

    def init(self, problem: Composite, x0: Array, *, key: PRNGKeyArray) -> BlockCoordinateDescentState:
        if isinstance(problem.f, LinearModel):
            problem.f.check_prediction(jax.eval_shape(problem.f.predict, x0))  # pyright: ignore
        L = _by_rows(problem, x0).row_curvature().astype(x0.dtype)
        # A column of zeros moves freely: its bound is a tiny number in place of zero.
        least = jnp.finfo(L.dtype).eps * jnp.max(L)
        return BlockCoordinateDescentState(x0, Calls(), jnp.maximum(L, jnp.where(least > 0, least, 1)))

    def step(
        self, problem: Composite, state: BlockCoordinateDescentState, *, key: PRNGKeyArray
    ) -> BlockCoordinateDescentState:
        f, g = _by_rows(problem, state.x), problem.g

        def update(j: Int[Array, ""], carry: tuple[Array, Array]) -> tuple[Array, Array]:
            x, z = carry
            step = 1 / state.lipschitz[j]
            row = g.prox_row(x[j] - step * f.row_gradient(z, j), j, step)
            return x.at[j].set(row), f.moved(z, j, row - x[j])

        start = (state.x, f.predict(state.x))
        x, _ = jax.lax.fori_loop(0, state.lipschitz.size, update, start)
        calls = state.calls.add(coordinate=state.x.size, matvec=1)
        return BlockCoordinateDescentState(x, calls, state.lipschitz)


def _by_rows(problem: Composite, x: Array) -> PredictionModel:
    f = problem.f
    return f if isinstance(f, PredictionModel) else LossRows.of(f, x)  # pyright: ignore[reportArgumentType]
