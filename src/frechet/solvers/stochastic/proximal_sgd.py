"""Proximal stochastic gradient descent."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, PyTree, Scalar

from frechet.convex.parameters import parameter
from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.problem import Problem
from frechet.core.solver import Solver, State
from frechet.problems.composite import Composite
from frechet.solvers.stochastic import sampling


class Constant(eqx.Module):
    r"""$s_t = s$, and an average with equal weights.

    The iterates reach a neighbourhood of the solution whose mean squared size is proportional to $s$.

    Args:
        step_size: $s$; half the inverse of the largest of ``f.lipschitz_terms()`` when left out.
    """

    step_size: float | Scalar | None = None

    def size(self, first: Scalar, t: Scalar) -> Scalar:
        """The step size of update ``t`` = 1, 2, ...; ``first`` is the first one."""
        return first

    def fraction(self, t: Scalar) -> Scalar:
        """The share of iterate ``t`` in the average of iterates 1 to ``t``."""
        return 1 / t


class InverseSqrt(Constant):
    r"""$s_t = s/\sqrt t$ with equal weights: $O(1/\sqrt t)$ for the average, convex $f$ on a bounded set.

    Args:
        step_size: $s$; half the inverse of the largest of ``f.lipschitz_terms()`` when left out.

    Source:
        Nemirovski, Juditsky, Lan, Shapiro 2009, Robust stochastic approximation approach to stochastic
        programming.
    """

    def size(self, first: Scalar, t: Scalar) -> Scalar:
        """The step size of update ``t`` = 1, 2, ...; ``first`` is the first one."""
        return first / jnp.sqrt(t)


class StronglyConvex(eqx.Module):
    r"""$s_t = 2/(\mu(t + 1))$ with weights $t$: $O(1/t)$ for the average, $\mu$-strongly convex $f$.

    The first steps are long, $1/\mu$; the rate supposes bounded gradients, as on a bounded set.

    Args:
        mu: the modulus $\mu$ of strong convexity.

    Source:
        Lacoste-Julien, Schmidt, Bach 2012, A simpler approach to obtaining an O(1/t) convergence rate for the
        projected stochastic subgradient method, arXiv 1212.2002.
    """

    mu: float | Scalar = eqx.field(converter=lambda v: parameter("mu", v))

    @property
    def step_size(self) -> float | Scalar:
        """The first step size."""
        return 1 / self.mu

    def size(self, first: Scalar, t: Scalar) -> Scalar:
        """The step size of update ``t`` = 1, 2, ...; ``first`` is the first one."""
        return first * 2 / (t + 1)

    def fraction(self, t: Scalar) -> Scalar:
        """The share of iterate ``t`` in the average of iterates 1 to ``t``."""
        return 2 / (t + 1)


class ProximalSGDState(State):
    """``iterate`` is where the method is (``x`` may be its average), ``updates`` how many it made."""

    iterate: PyTree[Array]
    updates: Int[Array, ""]
    step_size: Scalar


class ProximalSGD(Solver):
    r"""Stochastic gradient descent with a prox, for $\frac1n\sum_i f_i + g$.

    $$x_{t+1} = \mathrm{prox}_{s_t g}\Bigl(x_t - \frac{s_t}{|B|}\sum_{i\in B}\nabla f_i(x_t)\Bigr)$$

    with batches $B$ drawn with replacement. A step here is $\lfloor n/|B|\rfloor$ updates, a data pass.
    With a constant step it does not converge, and with a decreasing one it does so sublinearly: use `SAGA`
    for an accurate solution.

    Args:
        schedule: step sizes and averaging weights: `Constant`, `InverseSqrt` or `StronglyConvex`.
        average: whether ``x`` is the weighted average of all iterates instead of the last.
        batch_size: $|B|$.

    Source:
        Robbins, Monro 1951, A stochastic approximation method; Polyak, Juditsky 1992, Acceleration of
        stochastic approximation by averaging; Duchi, Singer 2009, Efficient online and batch learning using
        forward backward splitting.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> X, y = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), jnp.array([1.0, 2.0, 3.0])
        >>> problem = fr.Composite(fr.losses.Squared(X, y))
        >>> solver = ProximalSGD(InverseSqrt(0.5))
        >>> fr.solve(problem, jnp.zeros(2), solver, tol=1e-3).x.round(1).tolist()
        [1.0, 2.0]
    """

    accepts: ClassVar[type] = Composite
    needs: ClassVar[frozenset[str]] = frozenset({"sample"})
    stochastic: ClassVar[bool] = True
    converges: ClassVar[bool] = False
    check_every: ClassVar[int] = 1
    schedule: Constant | StronglyConvex = eqx.field(default_factory=Constant)
    average: bool = eqx.field(default=False, static=True)
    batch_size: int = eqx.field(default=1, static=True)

    def __check_init__(self):
        sampling.check_batch_size(self.batch_size)
        if not hasattr(self.schedule, "size"):
            raise TypeError(
                f"schedule must be Constant, InverseSqrt or StronglyConvex, got {self.schedule!r}; "
                "a fixed step size is Constant(step_size)"
            )

    def fits(self, problem: Problem) -> str | None:
        reason = super().fits(problem)
        if reason is None and self.schedule.step_size is None:
            name = type(self.schedule).__name__
            reason = sampling.lacks_step_size(problem, name)  # pyright: ignore[reportArgumentType]
        return reason

    def init(self, problem: Composite, x0: PyTree[Array], *, key: PRNGKeyArray) -> ProximalSGDState:
        step_size = sampling.initial_step_size(problem, x0, self.schedule.step_size, self.batch_size, 2.0)
        return ProximalSGDState(x0, Calls(), x0, jnp.zeros((), int), step_size)

    def step(self, problem: Composite, state: ProximalSGDState, *, key: PRNGKeyArray) -> ProximalSGDState:
        rounds = sampling.rounds(problem, self.batch_size)

        def update(carry: tuple, indices: Int[Array, " batch"]) -> tuple:
            average, x, t = carry
            t = t + 1
            at = t.astype(state.step_size.dtype)
            if self.average:  # over the points where gradients are taken
                average = tree.axpy(self.schedule.fraction(at), tree.subtract(x, average), average)
            s = self.schedule.size(state.step_size, at)
            gradient = problem.sample_value_and_gradient(x, indices)[1]
            return (average, problem.prox(tree.axpy(-s, gradient, x), s), t), None

        drawn = sampling.draw(key, problem, rounds, self.batch_size)
        start = (state.x, state.iterate, state.updates)
        (average, x, t), _ = jax.lax.scan(update, start, drawn)
        calls = state.calls.add(sample=rounds * self.batch_size, prox=rounds)
        return ProximalSGDState(average if self.average else x, calls, x, t, state.step_size)

    @classmethod
    def presets(cls) -> dict[str, Solver]:
        return {
            "ProximalSGD": cls(),
            "ProximalSGD:averaged": cls(average=True),
            "ProximalSGD:inverse-sqrt": cls(InverseSqrt(), average=True),
        }
