"""Restarted primal-dual hybrid gradient for large sparse linear and quadratic programs."""

from typing import ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.constrained import KKTPoint
from frechet.problems.quadratic_program import QuadraticProgram, is_sparse
from frechet.solvers.quadratic import certificates, rows
from frechet.solvers.quadratic.equilibration import equilibrate, scaled


class Pair(NamedTuple):
    """A point and the multipliers of its rows."""

    x: Float[Array, " n"]
    y: Float[Array, " m"]


class Epoch(NamedTuple):
    """What has happened since the last restart: its anchor, the steps, their first and last length."""

    anchor: Pair
    steps: Int[Array, ""]
    first: Scalar
    last: Scalar


class PrimalDualHybridGradientState(State):
    r"""``x`` is $T(z)$ of the $z$ before.

    Attributes:
        steps: the diagonals $D^2$ and $E^2$.
        curvature: a bound on the norm of $DPD$.
        at: $z$.
        moved: $T(z) - z$ of the last step.
        weight: the primal weight, the root of the ratio of dual to primal step.
        total: all steps.
    """

    steps: Pair
    curvature: Scalar
    at: Pair
    moved: Pair
    weight: Scalar
    epoch: Epoch
    total: Int[Array, ""]


class PrimalDualHybridGradient(Solver):
    r"""Restarted Halpern iteration of primal-dual hybrid gradient steps, which take products alone.

    With rows $l \le Kx \le u$ and bounds, a step $T$ is

    $$x^+ = \mathrm{clip}(x - \tau D^2 (Px + q + K^\top y)), \qquad
      y^+ = v - \sigma E^2\, \mathrm{clip}(v / (\sigma E^2), l, u), \quad v = y + \sigma E^2 K(2x^+ - x),$$

    and the iterate moves to a mean of its reflection and of the anchor, where the epoch began,
    $z \leftarrow \tfrac{k+1}{k+2}\bigl((1 + \rho)T(z) - \rho z\bigr) + \tfrac1{k+2} z_0$ with $\rho = 1$ for
    linear programs and $\tfrac12$ for quadratic ones. An epoch ends, and $T(z)$ becomes the anchor, when
    $\|T(z) - z\|$ has fallen to a fifth, or to four fifths and rises again, or when it has lasted 36 % of all
    steps; that makes convergence linear. The diagonals are Ruiz's scaling followed by Pock and Chambolle's,
    which bounds the norm of $EKD$ by one; the ratio $\sigma / \tau$ follows, from epoch to epoch, how far $y$
    and $x$ travelled. Where the program has no solution $T(z) - z$ tends to a certificate of that.

    A step costs one product with each of $K$, $K^\top$ and $P$. Many steps of low cost: for large sparse
    programs to moderate accuracy.

    Source:
        Lu, Yang 2024, Restarted Halpern PDHG for linear programming, arXiv 2407.16144; Applegate et al. 2021,
        PDLP, arXiv 2106.04756; Lu, Yang 2023, A practical and optimal first-order method for large-scale
        convex quadratic programming, arXiv 2311.07710; Applegate, Díaz, Lu, Lubin 2021, Infeasibility
        detection, arXiv 2102.04592.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.QuadraticProgram(q=-jnp.ones(2), G=jnp.array([[1.0, 2.0]]), h=jnp.ones(1), lower=0.0)
        >>> solution = fr.solve(problem, jnp.zeros(2), PrimalDualHybridGradient())
        >>> solution.x.primal.round(2).tolist(), solution.x.dual_ineq.round(2).tolist()
        ([1.0, 0.0], [1.0])
    """

    accepts: ClassVar[type] = QuadraticProgram
    needs: ClassVar[frozenset[str]] = frozenset({"matrices"})
    check_every: ClassVar[int] = 40

    def init(
        self, problem: QuadraticProgram, x0: KKTPoint, *, key: PRNGKeyArray
    ) -> PrimalDualHybridGradientState:
        p = rows.stack(problem, x0.primal)
        D, E, _ = equilibrate(p)
        K = _magnitudes(scaled(p.K, E, D))
        wide, tall = K.T @ jnp.ones_like(E), K @ jnp.ones_like(D)
        D, E = D / jnp.sqrt(jnp.where(wide > 0, wide, 1)), E / jnp.sqrt(jnp.where(tall > 0, tall, 1))
        curvature = jnp.zeros((), D.dtype)
        if p.P is not None:
            curvature = jnp.max(D * (_magnitudes(p.P) @ D))
        limit = jnp.where(jnp.isfinite(p.u), p.u, jnp.where(jnp.isfinite(p.l), p.l, 0))
        price, right = tree.norm(D * p.q), tree.norm(E * limit)
        weight = jnp.where((price > 0) & (right > 0), price / jnp.where(right > 0, right, 1), 1)
        at = Pair(x0.primal, rows.multipliers(x0))
        zero, inf = jnp.zeros((), jnp.int32), jnp.full((), jnp.inf, D.dtype)
        return PrimalDualHybridGradientState(
            x0,
            Calls(),
            Pair(D**2, E**2),
            curvature,
            at,
            tree.subtract(at, at),
            weight,
            Epoch(at, zero, inf, inf),
            zero,
        )

    def step(
        self, problem: QuadraticProgram, state: PrimalDualHybridGradientState, *, key: PRNGKeyArray
    ) -> PrimalDualHybridGradientState:
        p = rows.stack(problem, state.x.primal)
        (x, y), weight, epoch = state.at, state.weight, state.epoch
        # The longest steps with 1 / tau - sigma >= curvature: T is averaged then.
        bend = state.curvature / weight
        length = 0.998 * 2 / (bend + jnp.sqrt(bend**2 + 4))
        tau, sigma = length / weight * state.steps.x, length * weight * state.steps.y
        forward = x - tau * p.slope(x, y)
        ahead = jnp.minimum(jnp.maximum(forward, p.lower), p.upper)
        v = y + sigma * (p.K @ (2 * ahead - x))
        new = Pair(ahead, v - sigma * jnp.minimum(jnp.maximum(v / sigma, p.l), p.u))
        moved = tree.subtract(new, state.at)

        span = self._length(state.steps, weight, moved)
        first = jnp.where(epoch.steps == 0, span, epoch.first)
        reflected = tree.axpy(1.0 if p.P is None else 0.5, moved, new)
        share = 1 / (epoch.steps + 2).astype(x.dtype)
        at = tree.axpy(share, tree.subtract(epoch.anchor, reflected), reflected)

        total, steps = state.total + 1, epoch.steps + 1
        done = (span <= 0.2 * first) | ((span <= 0.8 * first) & (span > epoch.last))
        done = (done & (steps > 1)) | (steps >= 0.36 * total)
        travelled = tree.subtract(new, epoch.anchor)
        dx, dy = (tree.norm(d / jnp.sqrt(s)) for d, s in zip(travelled, state.steps, strict=True))
        both = (dx > 0) & (dy > 0)
        ratio = jnp.where(both, dy, 1) / jnp.where(both, dx, 1)
        adapted = jnp.where(done & both, jnp.sqrt(weight * ratio), weight)
        fresh = Epoch(new, jnp.zeros_like(steps), span, jnp.full_like(span, jnp.inf))
        epoch = tree.where(done, fresh, Epoch(epoch.anchor, steps, first, span))
        calls = state.calls.add(matvec=2 * (p.l.size > 0) + (p.P is not None))
        return PrimalDualHybridGradientState(
            rows.point(state.x, *new),
            calls,
            state.steps,
            state.curvature,
            tree.where(done, new, at),
            moved,
            adapted,
            epoch,
            total,
        )

    def _length(self, steps: Pair, weight: Scalar, d: Pair) -> Scalar:
        return jnp.sqrt(weight * jnp.sum(d.x**2 / steps.x) + jnp.sum(d.y**2 / steps.y) / weight)

    def diagnosis(self, problem: QuadraticProgram, state: PrimalDualHybridGradientState) -> Int[Array, ""]:
        p = rows.stack(problem, state.x.primal)
        x, y = state.x.primal, rows.multipliers(state.x)
        none = certificates.infeasible(p, state.moved.y, -(p.K.T @ state.moved.y), x)
        return certificates.ending(none, certificates.unbounded(p, state.moved.x, x, y))


def _magnitudes(M: rows.Matrix) -> rows.Matrix:
    """The moduli of the entries."""
    return type(M)((jnp.abs(M.data), M.indices), shape=M.shape) if is_sparse(M) else jnp.abs(M)
