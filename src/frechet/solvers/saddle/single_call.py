"""What extragradient methods with one operator evaluation a step share.

Past and reflected extragradient and the optimistic gradient method keep a base iterate and a leading point
where the operator is evaluated. They differ in how either follows; without constraints and with a constant
step they are one method.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree, Scalar

from frechet.core import tree
from frechet.problems.inclusion import Inclusion
from frechet.solvers.saddle.stepping import MonotoneMethod, MonotoneState


class SingleCallState(MonotoneState):
    """``iterate`` is the base, ``previous`` the one before.

    ``lead`` is where the operator (or the batch) was evaluated last and ``value`` what came out, zero before
    the first step.
    """

    previous: PyTree[Array]
    lead: PyTree[Array]
    value: PyTree[Array]


class SingleCall(MonotoneMethod):
    """A `MonotoneMethod` that evaluates the operator once a step, at a leading point."""

    def leading(self, problem: Inclusion, state: SingleCallState, s: Scalar) -> PyTree[Array]:
        """The point to evaluate the operator at."""
        raise NotImplementedError

    def following(
        self, problem: Inclusion, state: SingleCallState, lead: PyTree[Array], value: PyTree[Array], s: Scalar
    ) -> PyTree[Array]:
        """The new base, from the operator's value at the leading point."""
        raise NotImplementedError

    def last(self, base: PyTree[Array], lead: PyTree[Array]) -> PyTree[Array]:
        """What to return: the base, unless that may leave the domain of $g$."""
        return base

    def taken(
        self, problem: Inclusion, state: SingleCallState, prox: int, key: PRNGKeyArray
    ) -> SingleCallState:
        """A step, which takes so many proximal maps."""
        s = state.pace.size(self.step_size, self.share, state.iterate)
        lead = self.leading(problem, state, s)
        value = self.operator(problem, lead, self.drawn(problem, key))
        base = self.following(problem, state, lead, value, s)
        pace, watch, good = state.pace.next(), state.watch, jnp.asarray(True)
        # Between two values of other batches the difference is noise.
        if watch is not None:
            # Before the first step there is nothing to compare with.
            before = tree.where(state.pace.steps > 0, state.lead, lead)
            pace, good = state.pace.tried(self.share, before, state.value, lead, value)
            seen = watch.after(value, tree.subtract(value, state.value), tree.subtract(lead, before))
            watch = tree.where(good, seen, watch)
        # Where the step turns out too long, the base it started from is too far: back to the one before.
        new, old = (
            (base, state.iterate, lead, value),
            (state.previous, state.previous, state.lead, state.value),
        )
        base, previous, lead, value = tree.where(good, new, old)
        x, weight = self.shown(state, self.last(base, lead), lead, jnp.where(good, s, 0))
        calls = self.charged(state.calls, 1, prox)
        return SingleCallState(x, calls, base, pace, weight, watch, previous, lead, value)

    def init(self, problem: Inclusion, x0: PyTree[Array], *, key: PRNGKeyArray) -> SingleCallState:
        s = self.begin(problem, x0)
        nothing = jax.tree.map(jnp.zeros_like, x0)
        return SingleCallState(s.x, s.calls, s.iterate, s.pace, s.weight, s.watch, x0, x0, nothing)
