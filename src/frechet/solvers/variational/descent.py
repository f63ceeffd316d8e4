"""What methods of Gaussian variational inference share: steps along which the free energy never rises."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import State
from frechet.problems.gaussian_expectations import Expectation, Gaussian
from frechet.problems.gaussian_variational import GaussianVariational
from frechet.solvers.rounding import rounding


class VariationalState(State):
    """``ahead`` and ``free_energy`` are those at ``x``; ``scale`` is the share of the longest step to try."""

    ahead: Expectation
    free_energy: Scalar
    scale: Scalar


def start(problem: GaussianVariational, x0: Gaussian) -> VariationalState:
    """The state before the first step, for one expectation."""
    ahead = problem.expectation(x0)
    energy = ahead.value - problem.entropy(x0)
    return VariationalState(x0, _counted(Calls()), ahead, energy, jnp.ones_like(energy))


def advance(
    problem: GaussianVariational,
    state: VariationalState,
    step_size: Any,
    longest: Callable[[VariationalState], Scalar | float],
    move: Callable[[Scalar], Gaussian],
    **cost: int,
) -> VariationalState:
    """One step, for one expectation.

    Args:
        problem: supplies expectations.
        state: where to step from.
        step_size: a constant one; or None for a share of the longest, which is halved where the free energy
            would rise (up to rounding; the iterate then stays) and grows again where it falls.
        longest: the longest step size that makes sense at a state.
        move: the candidate that a step size leads to.
        **cost: oracle calls that a candidate costs.
    """
    size = state.scale * longest(state) if step_size is None else jnp.asarray(step_size, state.scale.dtype)
    candidate = move(size)
    ahead = problem.expectation(candidate)
    entropy = problem.entropy(candidate)
    calls, energy = _counted(state.calls).add(**cost), ahead.value - entropy
    if step_size is not None:
        return VariationalState(candidate, calls, ahead, energy, state.scale)
    fall, unseen = state.free_energy - energy, 8 * rounding(ahead.value, entropy)
    # Where rounding hides the fall a longer step would be taken unseen, and again and again.
    longer = jnp.where(fall > 100 * unseen, jnp.minimum(1, 1.2 * state.scale), state.scale)
    moved = VariationalState(candidate, calls, ahead, energy, longer)
    stayed = VariationalState(state.x, calls, state.ahead, state.free_energy, state.scale / 2)
    return tree.where((fall >= -unseen) & jnp.isfinite(energy), moved, stayed)


def spectral_radius(A: Float[Array, "d d"]) -> Scalar:
    """The largest modulus of an eigenvalue of a symmetric matrix."""
    return jnp.max(jnp.abs(jnp.linalg.eigvalsh(A)))


def _counted(calls: Calls) -> Calls:
    return calls.add(value=1, gradient=1, jacobian=1)
