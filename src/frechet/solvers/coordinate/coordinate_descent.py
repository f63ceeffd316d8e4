"""Proximal coordinate descent on working sets."""

import math
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Scalar

from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.losses.linear_model import LinearModel, is_concrete
from frechet.problems.composite import Composite
from frechet.solvers.coordinate.columns import squared_norms
from frechet.solvers.coordinate.subproblem import prox_and_derivative, slope, subproblem, violation

# A step ends when the violation has fallen by this factor, or after so many working sets; a subproblem is
# solved to this fraction of the violation outside.
FACTOR, ROUNDS, FRACTION = 1e-4, 10, 0.05


class CoordinateDescentState(State):
    """``lipschitz`` are the curvature bounds $L_j$ of the coordinates, shape (p,)."""

    lipschitz: Float[Array, " p"]


class Survey(NamedTuple):
    """Where x fails to solve the whole problem: a score and whether it is in the support, both (p,)."""

    score: Float[Array, " p"]
    support: Bool[Array, " p"]
    worst: Scalar


class Round(NamedTuple):
    """What the loop over working sets carries; ``z`` are the predictions of ``x``."""

    x: Float[Array, " p"]
    z: Float[Array, " n"]
    survey: Survey
    rounds: Int[Array, ""]
    updates: Int[Array, ""]


class CoordinateDescent(Solver):
    r"""Coordinate descent for a linear model and a separable penalty: lasso, elastic net, sparse logistic.

    $$\min_x\; \frac1n \sum_i s_i\,\ell(x_i^\top x, y_i) + \sum_j g_j(x_j), \qquad
      x_j \leftarrow \mathrm{prox}_{g_j/L_j}\bigl(x_j - \nabla_j f(x)/L_j\bigr), \qquad
      L_j = \frac{c}{n} \sum_i s_i X_{ij}^2$$

    with c the loss's curvature bound. A full gradient scores every coordinate by how far its update would
    move it, $\sqrt{L_j}\,|\Delta x_j|$. The working set is the support and the highest scores, at most twice
    the support's size (at least ``smallest``). On it cyclic epochs alternate with semismooth Newton steps,
    by conjugate gradients, on the coordinates that the proximal map leaves free; such a step is kept where
    it and the epoch after it lower the objective. That is a round. A step of the solver takes up to ten
    rounds, until the violation has fallen by 1e-4.

    Working sets have one of a few sizes, each four times the one before, so that shapes are static; loops run
    over the columns in use. Under ``vmap`` the batch runs the sizes that any member wants.

    ``calls.gradient`` counts full gradients. ``calls.coordinate`` counts updates of one coordinate, and one
    for every column that a Hessian product or a partial gradient on a working set reads.

    Reverse mode through unrolled steps is not offered (a JAX loop of unknown length); derivatives of the
    solution are implicit and have no such limit.

    Args:
        smallest: columns in the smallest working set.

    Source:
        Massias, Gramfort, Salmon 2018, Celer: a fast solver for the lasso with dual extrapolation, arXiv
        1802.07481; Bertrand, Klopfenstein, Bannier, Gidel, Massias 2022, Beyond L1: faster and better sparse
        models with skglm, arXiv 2204.07826; Li, Sun, Toh 2018, A highly efficient semismooth Newton augmented
        Lagrangian method for solving lasso problems, arXiv 1607.05428.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> lasso = fr.Composite(fr.losses.Squared(2 * jnp.eye(4), jnp.arange(4.0)), fr.convex.L1(0.5))
        >>> fr.solve(lasso, jnp.zeros(4), CoordinateDescent()).x.tolist()
        [0.0, 0.0, 0.5, 1.0]
    """

    accepts: ClassVar[type] = Composite
    needs: ClassVar[frozenset[str]] = frozenset({"linear model", "separable"})
    check_every: ClassVar[int] = 1

    smallest: int = eqx.field(default=128, static=True)

    def __check_init__(self):
        if self.smallest < 1:
            raise ValueError(f"smallest must be at least 1, got {self.smallest}")

    def fits(self, problem: Composite) -> str | None:
        reason = super().fits(problem)
        if reason:
            return reason
        f, name = _model(problem), type(problem.f).__name__
        if is_concrete(f.curvature) and not math.isfinite(f.curvature):
            return f"needs a loss of bounded curvature, which {name} has not"
        try:
            f.check_prediction(jax.ShapeDtypeStruct(f.X.shape[:1], f.X.dtype))  # pyright: ignore
        except ValueError:
            return f"takes one coefficient a column of X, x of shape (p,); this {name} needs a matrix"
        return None

    def init(self, problem: Composite, x0: Array, *, key: PRNGKeyArray) -> CoordinateDescentState:
        f = _model(problem)
        L = (f.curvature * squared_norms(f) / f.count).astype(jnp.result_type(*jax.tree.leaves(x0)))
        # A column of zeros moves freely: its bound is a tiny number in place of zero.
        least = jnp.finfo(L.dtype).eps * jnp.max(L)
        return CoordinateDescentState(x0, Calls(), jnp.maximum(L, jnp.where(least > 0, least, 1)))

    def step(
        self, problem: Composite, state: CoordinateDescentState, *, key: PRNGKeyArray
    ) -> CoordinateDescentState:
        f, g, L = _model(problem), problem.g, state.lipschitz
        p = L.size
        scale = jnp.ones((), L.dtype) / f.count if f.sample_weight is None else f.sample_weight / f.count
        sizes = _sizes(self.smallest, p)

        def survey(x: Array, z: Array) -> Survey:
            gradient = (scale * slope(f, z, f.y)) @ f.X
            ahead, derivative = prox_and_derivative(g, x - gradient / L, jnp.arange(p), 1 / L)
            score = jnp.sqrt(L) * jnp.abs(x - ahead)
            return Survey(score, (x != 0) & (derivative > 0), violation(L, x, gradient, x - ahead))

        def one_round(r: Round) -> Round:
            wanted = jnp.maximum(self.smallest, 2 * jnp.sum(r.survey.support))
            chosen = _choose(r.survey, wanted)
            size = jnp.sum(chosen)
            done = (r.x, r.z, r.updates)
            for least, m in zip((-1, *sizes), sizes, strict=False):

                def solve(carry: tuple, m: int = m) -> tuple:
                    (x, z, updates), _ = carry
                    which = jnp.nonzero(chosen, size=m, fill_value=p)[0]
                    sub = subproblem(f, g, scale, x, which, size, L)
                    x, z, more = sub.solve(z, FRACTION * r.survey.worst)
                    return (x, z, updates + more), jnp.asarray(False)

                # A loop of one turn at most: unlike `lax.cond` it costs nothing under vmap when no member
                # of the batch wants this size.
                wants = (least < size) & (size <= m)
                done, _ = lax.while_loop(lambda carry: carry[1], solve, (done, wants))
            x, z, updates = done
            return Round(x, z, survey(x, z), r.rounds + 1, updates)

        # A start at zero, the usual one, is spared a product with the design.
        moved, none = jnp.any(state.x != 0), jnp.zeros(f.count, L.dtype)
        z = lax.cond(moved, lambda: f.predict(state.x), lambda: none)
        first, none = survey(state.x, z), jnp.zeros((), int)

        def go_on(r: Round) -> Bool[Array, ""]:
            return (r.survey.worst > FACTOR * first.worst) & (r.rounds < ROUNDS)

        last = lax.while_loop(go_on, one_round, Round(state.x, z, first, none, none))
        calls = state.calls.add(gradient=1 + last.rounds, coordinate=last.updates)
        return CoordinateDescentState(last.x, calls, L)


def _model(problem: Composite) -> LinearModel:
    return problem.f  # pyright: ignore[reportReturnType]


def _sizes(smallest: int, p: int) -> list[int]:
    # Each size is a program to compile, so none is near p.
    sizes = []
    while 2 * smallest <= p:
        sizes.append(smallest)
        smallest *= 4
    return [*sizes, p]


def _choose(survey: Survey, wanted: Int[Array, ""]) -> Bool[Array, " p"]:
    """The support, the highest score, and below it as many scores above zero as fit into ``wanted``."""
    rank = jnp.where(survey.support, jnp.inf, survey.score)
    top = jnp.max(survey.score)

    def halve(_: Array, bracket: tuple[Scalar, Scalar]) -> tuple[Scalar, Scalar]:
        low, high = bracket
        middle = 0.5 * (low + high)
        fits = jnp.sum(rank > middle) <= wanted
        return jnp.where(fits, low, middle), jnp.where(fits, middle, high)

    # Bisection for the threshold: sorting costs ten times as much.
    all_fit = jnp.sum(rank > 0) <= wanted
    _, high = lax.fori_loop(0, 20, halve, (jnp.zeros_like(top), top))
    return (rank > jnp.where(all_fit, 0, high)) | ((rank == top) & (top > 0))
