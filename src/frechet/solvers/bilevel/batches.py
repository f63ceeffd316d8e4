"""Batches of terms at both levels, and what oracle calls over them cost."""

from typing import Any

import jax
from jaxtyping import Array, Int, PRNGKeyArray

from frechet.core.calls import Calls
from frechet.problems.bilevel import Bilevel

Indices = Int[Array, " batch"] | None


def outer_batch(key: PRNGKeyArray, problem: Bilevel, size: int | None) -> Indices:
    """Indices of terms of the upper objective, uniform with replacement; None (all) without a size."""
    return None if size is None else jax.random.randint(key, (size,), 0, problem.outer_count)


def inner_batch(key: PRNGKeyArray, problem: Bilevel, size: int | None) -> Indices:
    """Likewise of the lower objective."""
    return None if size is None else jax.random.randint(key, (size,), 0, problem.inner_count)


def both_batches(key: PRNGKeyArray, problem: Bilevel, size: int | None) -> tuple[Indices, Indices]:
    """Independent batches of the upper objective and of the lower one."""
    outer, inner = jax.random.split(key)
    return outer_batch(outer, problem, size), inner_batch(inner, problem, size)


def charge(
    calls: Calls, size: int | None, *, outer: Any = 0, inner: Any = 0, second: Any = 0, **others: Any
) -> Calls:
    """Calls with so many gradients of either level and second-order products, of batches of that size.

    Args:
        calls: those before.
        size: terms a batch; None for whole sums.
        outer: gradients of the upper objective.
        inner: gradients of the lower one.
        second: products with its second derivatives.
        **others: further oracles by name.
    """
    if size is None:
        return calls.add(outer_gradient=outer, gradient=inner, hvp=second, **others)
    return calls.add(outer_sample=size * outer, sample=size * inner, sample_hvp=size * second, **others)
