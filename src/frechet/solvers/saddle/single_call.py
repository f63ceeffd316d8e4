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
    """``iterate`` is the base.

    ``lead`` is where the operator (or the batch) was evaluated last and ``value`` what came out, zero before
    the first step; ``previous`` is the base before, None in methods that do not need it.
    """

    lead: PyTree[Array]
    value: PyTree[Array]
    previous: PyTree[Array] | None


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
        pace, watch = state.pace.next(), state.watch
        # Between two values of other batches the difference is noise.
        if watch is not None:
            # Before the first step there is nothing to compare with.
            before = tree.where(state.pace.steps > 0, state.lead, lead)
            pace = state.pace.after(before, state.value, lead, value)
            watch = watch.after(value, tree.subtract(value, state.value), tree.subtract(lead, before))
        x, weight = self.shown(state, self.last(base, lead), lead, s)
        previous = None if state.previous is None else state.iterate
        calls = self.charged(state.calls, 1, prox)
        return SingleCallState(x, calls, base, pace, weight, watch, lead, value, previous)

    def start(self, problem: Inclusion, x0: PyTree[Array], remembers: bool = False) -> SingleCallState:
        """The state before the first step; ``remembers`` whether with the base before."""
        begun = self.begin(problem, x0)
        nothing = jax.tree.map(jnp.zeros_like, x0)
        own = (begun.x, begun.calls, begun.iterate, begun.pace, begun.weight, begun.watch)
        return SingleCallState(*own, x0, nothing, x0 if remembers else None)
