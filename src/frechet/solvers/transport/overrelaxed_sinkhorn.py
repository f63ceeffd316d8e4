"""Sinkhorn's algorithm with overrelaxation, by a factor that it learns from its own rate."""

from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.transport import Potentials, Transport
from frechet.solvers.transport.half_sweeps import half_sweeps, resolution

SHORT = 0.75
"""The share of the decay that the factor promises, in logarithms, at which it is left as it is."""
ENOUGH = 2.0
"""The decay that a factor has to promise, in logarithms, before it is judged: on the way, errors swing."""
SMALL = 1e-2
"""Where a series takes the place of a difference."""


class OverrelaxedSinkhornState(State):
    """Where it stands.

    Attributes:
        relaxation: the factor of the next sweeps, from 1 to 2.
        mark: the error from which that factor is judged; no number where none is set.
        age: the sweeps since.
    """

    relaxation: Scalar
    mark: Scalar
    age: Scalar


class _Sweeps(NamedTuple):
    """Where a step's sweeps are; ``sound`` until the plan they multiply by can no longer be trusted."""

    f: Array
    g: Array
    sound: Bool[Array, ""]


class OverrelaxedSinkhorn(Solver):
    r"""Sinkhorn's algorithm whose half-sweeps go beyond the best potentials of a side, by momentum.

    $$g \leftarrow g + \omega\,(g^*(f) - g), \qquad f \leftarrow f + \omega\,(f^*(g) - f)$$

    is successive overrelaxation of the dual problem's two blocks. Where plain sweeps shrink errors by $\mu$
    in the end, the best factor and the rate with it are

    $$\omega = \frac{2}{1 + \sqrt{1 - \mu}}, \qquad \omega - 1 \approx 1 - 2\sqrt{1 - \mu},$$

    the root of the number of sweeps. $\mu$ is learnt: sweeps are plain at first, and whenever errors fall
    by less than three quarters of what the factor promises, in logarithms, the rate $\lambda$ they fall at
    tells $\mu = (\lambda + \omega - 1)^2 / (\lambda\omega^2)$. The factor only grows.

    Far from the solution a factor above 1 may diverge. A half-sweep is plain where going beyond would gain
    less than half of the dual value that it gains near the solution; so each one ascends.

    Sweeps are by products where costs are stored, as in `Sinkhorn`, whose mixing takes fewer of them as a
    rule; this keeps two potentials and no more.

    Args:
        sweeps: how many a step makes, of two passes or products each, after one pass for the plan.

    Raises:
        ValueError: ``sweeps`` is below four.

    Source:
        Thibault, Chizat, Dossal, Papadakis 2017, Overrelaxed Sinkhorn-Knopp algorithm for regularized optimal
        transport, arXiv 1711.01851; Lehmann, von Renesse, Sambale, Uschmajew 2021, A note on overrelaxation
        in the Sinkhorn algorithm, arXiv 2012.12562; learning the factor: Hageman, Young 1981, Applied
        iterative methods, chapter 9.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.Transport(jnp.array([[0.0, 1.0], [1.0, 0.0]]))
        >>> bool(fr.solve(problem, problem.initial(), OverrelaxedSinkhorn()).status.converged)
        True
    """

    accepts: ClassVar[type] = Transport
    needs: ClassVar[frozenset[str]] = frozenset({"entropic"})
    check_every: ClassVar[int] = 1
    sweeps: int = eqx.field(default=20, static=True)

    def __check_init__(self):
        if self.sweeps < 4:
            raise ValueError(f"sweeps must be at least 4, got {self.sweeps}")

    def init(self, problem: Transport, x0: Potentials, *, key: PRNGKeyArray) -> OverrelaxedSinkhornState:
        one = jnp.ones_like(problem.epsilon)
        return OverrelaxedSinkhornState(x0, Calls(), one, jnp.nan * one, 0 * one)

    def step(
        self, problem: Transport, state: OverrelaxedSinkhornState, *, key: PRNGKeyArray
    ) -> OverrelaxedSinkhornState:
        x, omega = state.x, state.relaxation
        halves = half_sweeps(problem, x)
        weight = jnp.sqrt(problem.a) / problem.epsilon  # in this metric an error is one of marginals

        def sweep(at: _Sweeps, _: None) -> tuple[_Sweeps, tuple[Scalar, Array, Array]]:
            best, sound = halves.best_g(at.f)
            supply = problem.supplies(Potentials(at.f, best))[1]
            g, far = _beyond(problem, 1, at.g, best, supply, omega)
            best, also = halves.best_f(g)
            supply = problem.supplies(Potentials(best, g))[0]
            f, further = _beyond(problem, 0, at.f, best, supply, omega)
            error = jnp.sqrt(jnp.sum((weight * (best - at.f)) ** 2))
            taken = at.sound & sound & also & jnp.isfinite(error)
            f, g = tree.where(taken, (f, g), (at.f, at.g))
            return _Sweeps(f, g, taken), (error, taken, taken & far & further)

        end, (errors, taken, full) = jax.lax.scan(
            sweep, _Sweeps(x.f, x.g, jnp.array(True)), length=self.sweeps
        )
        lost = ~taken[0]  # not one sweep: the plan has underflowed
        g = jax.lax.cond(lost, lambda: problem.best_g(x.f), lambda: end.g)
        f = jax.lax.cond(lost, lambda: problem.best_f(g), lambda: end.f)
        calls = state.calls.add(matvec=halves.passes + 2 * self.sweeps + 2 * lost)
        # What transients do is over in the first half of a step, or else in a step to come.
        half = self.sweeps // 2
        fresh = jnp.isnan(state.mark)
        mark = jnp.where(fresh, errors[half - 1], state.mark)
        age = jnp.where(fresh, 0, state.age + half) + self.sweeps - half
        rate = (errors[-1] / mark) ** (1 / age)
        # Near the best factor rates hardly tell.
        due = (-age * jnp.log(omega - 1) >= ENOUGH) & (errors[-1] > resolution(problem, x.f))
        slow = due & (rate > (omega - 1) ** SHORT) & (rate < 1) & jnp.all(full[half - 1 :])
        slowest = 1 - jnp.finfo(omega.dtype).eps ** (2 / 3)  # that is told from none
        plain = jnp.minimum((rate + omega - 1) ** 2 / (rate * omega**2), slowest)
        learnt = jnp.where(slow, jnp.maximum(omega, 2 / (1 + jnp.sqrt(1 - plain))), omega)
        mark = jnp.where(slow | ~jnp.all(full), jnp.nan, mark)
        return OverrelaxedSinkhornState(problem.centred(Potentials(f, g)), calls, learnt, mark, age)


def _beyond(
    problem: Transport, side: int, old: Array, best: Array, supply: Array, omega: Scalar
) -> tuple[Array, Bool[Array, ""]]:
    """The overrelaxed potentials of a side, or the best where that is not safe; and which."""
    penalty = problem.unbalanced[side]
    held = None if penalty is None else problem.epsilon / penalty

    def lost(t: Array) -> Scalar:
        """How far the dual value is below its maximum, at these distances from it, in epsilons."""
        return supply @ (_excess(t) if held is None else _excess(t) + _excess(-held * t) / held)

    t = (old - best) / problem.epsilon
    safe = lost((1 - omega) * t) <= (1 - omega * (2 - omega) / 2) * lost(t)
    return jnp.where(safe, old + omega * (best - old), best), safe


def _excess(t: Array) -> Array:
    """$e^t - 1 - t$, without cancellation."""
    small = jnp.abs(t) < SMALL
    return jnp.where(small, t**2 * (1 / 2 + t * (1 / 6 + t * (1 / 24 + t / 120))), jnp.expm1(t) - t)
