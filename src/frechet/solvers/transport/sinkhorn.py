"""Sinkhorn's algorithm: accelerated, with epsilon scaling, as fast as products and as safe as logarithms."""

from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.transport import Potentials, Transport
from frechet.solvers.fixed_point.mixing_memory import MixingMemory
from frechet.solvers.transport.half_sweeps import HalfSweeps, half_sweeps, resolution

FIRST, RATIO = 1 / 256, 1 / 4
"""The first epsilon, in units of the largest cost, and that between one and the next.

Mixed sweeps need no help where epsilon is not below a quarter of the first.
"""
ENOUGH = 0.03
"""The error of the marginals at which epsilon is lowered; that, of the default tolerance, ends a step."""
GROWTH = 2.0
"""How far above its smallest the error of a mixed point may be."""


class SinkhornState(State):
    """Where it stands.

    Attributes:
        epsilon: the strength of regularisation that the next step works at.
        error: of the marginals in the last step, as the optimality map measures it, at its epsilon.
        used_up: whether that step made all of its sweeps.
    """

    epsilon: Scalar
    error: Scalar
    used_up: Bool[Array, ""]


class _Inner(NamedTuple):
    """The sweeps of a step: the last accepted ``f``, the ``g`` best for it and the ``image`` best for that.

    ``target`` is the error to reach, ``best`` the least so far, ``count`` the sweeps; ``done`` where there is
    no reason to go on.
    """

    f: Array
    g: Array
    image: Array
    error: Scalar
    target: Scalar
    best: Scalar
    memory: MixingMemory | None
    count: Int[Array, ""]
    done: Bool[Array, ""]


class Sinkhorn(Solver):
    r"""Sinkhorn's algorithm: the best potentials of one side for those of the other, in turn.

    $$g_j = -\varepsilon\log\textstyle\sum_i a_i e^{(f_i - C_{ij})/\varepsilon}, \qquad
      f_i = -\varepsilon\log\textstyle\sum_j b_j e^{(g_j - C_{ij})/\varepsilon},$$

    each pulled towards zero by $\rho/(\rho+\varepsilon)$ where a marginal is penalised. Its error falls by
    $1 - O(e^{-\|C\|/\varepsilon})$ a sweep at worst. Three things make it fast:

    - Where costs are stored, a step absorbs its potentials in a plan and sweeps by products with it, a tenth
      of the time of logarithms of sums, with their safety: a step ends where scalings get so large that
      underflow might tell, and one whose plan has lost a row or column takes a sweep in the log domain.
    - Anderson mixing of the last ``history`` sweeps, in the metric of the optimality map. A mixed point whose
      error is over twice the smallest is dropped with the memory, and a plain sweep follows.
    - From a start whose marginals are mostly wrong, $\varepsilon$ comes down by a quarter at a
      time, once marginals are right to 3 %.

    A step makes up to ``sweeps`` sweeps of two passes or products each, after one pass for the plan, and ends
    early once marginals are well within the default tolerance.

    Args:
        history: how many sweeps to mix; 0 for none.
        sweeps: how many a step makes at most.
        scaling: whether to lower $\varepsilon$ by and by.

    Raises:
        ValueError: ``history`` is negative or ``sweeps`` below one.

    Source:
        Sinkhorn, Knopp 1967, Concerning nonnegative matrices and doubly stochastic matrices; Cuturi 2013,
        Sinkhorn distances: lightspeed computation of optimal transport, arXiv 1306.0895; absorption and
        scaling: Schmitzer 2019, Stabilized sparse scaling algorithms for entropy regularized
        transport problems, arXiv 1610.06519; mixing: Anderson 1965, Iterative procedures for nonlinear
        integral equations.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.Transport(jnp.array([[0.0, 1.0], [1.0, 0.0]]))
        >>> bool(fr.solve(problem, problem.initial(), Sinkhorn()).status.converged)
        True
    """

    accepts: ClassVar[type] = Transport
    needs: ClassVar[frozenset[str]] = frozenset({"entropic"})
    check_every: ClassVar[int] = 1
    history: int = eqx.field(default=20, static=True)
    sweeps: int = eqx.field(default=40, static=True)
    scaling: bool = eqx.field(default=True, static=True)

    def __check_init__(self):
        if self.history < 0 or self.sweeps < 1:
            raise ValueError(
                f"history must be at least 0 and sweeps at least 1, got {self.history} and {self.sweeps}"
            )

    def init(self, problem: Transport, x0: Potentials, *, key: PRNGKeyArray) -> SinkhornState:
        epsilon = problem.epsilon
        unknown = jnp.full_like(epsilon, jnp.inf), jnp.asarray(False)
        if not self.scaling:
            return SinkhornState(x0, Calls(), epsilon, *unknown)
        first = jnp.maximum(epsilon, FIRST * problem.cost.largest())

        def cold() -> Bool[Array, ""]:
            off = tree.subtract(problem.marginals(x0), problem.supplies(x0))
            return sum(jnp.sum(jnp.abs(v)) for v in off) > jnp.sum(problem.a)

        asked = first * RATIO > epsilon
        start = jnp.where(jax.lax.cond(asked, cold, lambda: jnp.asarray(False)), first, epsilon)
        return SinkhornState(x0, Calls().add(matvec=2 * asked), start, *unknown)

    def step(self, problem: Transport, state: SinkhornState, *, key: PRNGKeyArray) -> SinkhornState:
        epsilon, x = state.epsilon, state.x
        level = problem.at_epsilon(epsilon)
        halves = half_sweeps(level, x)
        last = epsilon <= problem.epsilon
        end = self._mix(level, halves, x.f, last)
        # Nothing accepted: the plan has underflowed.
        lost = ~jnp.isfinite(end.error)
        f = jax.lax.cond(lost, lambda: level.best_f(x.g), lambda: end.image)
        # Where epsilon is on its way, potentials that are best for its end have finite marginals there.
        g = jax.lax.cond(lost | ~last, lambda: problem.best_g(f), lambda: end.g)
        lower = jnp.maximum(problem.epsilon, RATIO * epsilon)
        calls = state.calls.add(matvec=halves.passes + 2 * end.count + 1 * lost + 1 * (lost | ~last))
        return SinkhornState(
            problem.centred(Potentials(f, g)),
            calls,
            jnp.where(end.error <= ENOUGH, lower, epsilon),
            end.error,
            (end.count == self.sweeps) & ~end.done,
        )

    def _mix(self, level: Transport, halves: HalfSweeps, f: Array, last: Bool[Array, ""]) -> _Inner:
        weight = jnp.sqrt(level.a) / level.epsilon  # in this metric a residual is an error of marginals
        zero, inf = jnp.zeros((), jnp.int32), jnp.asarray(jnp.inf, f.dtype)
        eps = jnp.finfo(f.dtype).eps
        floor = resolution(level, f)
        memory = MixingMemory.empty(self.history, f.size, f.dtype) if self.history else None
        begun = _Inner(f, jnp.zeros_like(level.b), f, inf, inf, inf, memory, zero, jnp.asarray(False))

        def turn(s: _Inner) -> _Inner:
            plain = s.count == 0 if s.memory is None else s.memory.count == 0
            trial = s.image
            if s.memory is not None:
                trial = s.memory.mixed(s.image * weight, (s.image - s.f) * weight) / weight
                trial = jnp.where(plain, s.image, trial)
            g, sound = halves.best_g(trial)
            image, also = halves.best_f(g)
            residual = (image - trial) * weight
            error = jnp.sqrt(jnp.sum(residual**2))
            plain = plain | (s.memory is None)
            taken = sound & also & jnp.isfinite(error) & (plain | (error <= GROWTH * s.best))
            memory = s.memory
            if memory is not None:
                moved = memory.learnt((trial - s.f) * weight, residual - (s.image - s.f) * weight)
                # Nothing to compare the first with.
                memory = tree.where(taken & (s.count > 0), moved, memory).cleared(~taken)
            target = ENOUGH * jnp.where(last, eps**0.5 * jnp.minimum(1, error), 1)
            target = jnp.maximum(jnp.where(s.count == 0, target, s.target), floor)
            keep = lambda new, old: jnp.where(taken, new, old)  # noqa: E731
            return _Inner(
                keep(trial, s.f),
                keep(g, s.g),
                keep(image, s.image),
                keep(error, s.error),
                target,
                jnp.minimum(s.best, keep(error, s.best)),
                memory,
                s.count + 1,
                jnp.where(taken, error <= target, plain),
            )

        def turn_unless_done(s: _Inner, _: None) -> tuple[_Inner, None]:
            return jax.lax.cond(s.done, lambda s: s, turn, s), None

        return jax.lax.scan(turn_unless_done, begun, None, length=self.sweeps)[0]

    @classmethod
    def presets(cls) -> dict[str, Solver]:
        return {"Sinkhorn": cls(), "PlainSinkhorn": cls(history=0, scaling=False)}
