"""Resolvents of sums of operators, by variance-reduced forward-reflected-backward steps."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray, PyTree, Scalar

from frechet.core import tree
from frechet.problems.inclusion import Inclusion


class Inner(NamedTuple):
    """How the steps go: ``chance`` to refresh the snapshot, ``weight`` of the iterate beside it, ``step``."""

    chance: Any
    weight: Any
    step: Any


def inner(count: int, steepness: Scalar) -> Inner:
    r"""The theory's choice for ``count`` components and ``steepness`` the constant of $\eta F$."""
    # Of a single component half of the steps refresh: with all of them the theory's step would be zero.
    p = min(1 / count, 0.5)
    return Inner(p, 1 - p, jnp.sqrt(p * (1 - p)) / (2 * steepness))


class Resolved(NamedTuple):
    """The point, how many steps were taken and how often all components were evaluated."""

    point: PyTree[Array]
    steps: Int[Array, ""]
    refreshes: Int[Array, ""]


class _Carry(NamedTuple):
    v: PyTree[Array]
    snapshot: PyTree[Array]
    before: PyTree[Array]
    value: PyTree[Array]
    steps: Int[Array, ""]
    refreshes: Int[Array, ""]
    done: Bool[Array, ""]


def resolvent(
    problem: Inclusion,
    u: PyTree[Array],
    eta: Scalar,
    how: Inner,
    steps: Int[Array, ""] | int,
    accuracy: Scalar | float,
    key: PRNGKeyArray,
) -> Resolved:
    r"""The point $v$ with $v + \eta (F(v) + c) = u$, $c \in \partial g(v)$, by sampling components of $F$.

    The inclusion $0 \in A(v) + B(v)$ with $A = I - u + \eta\,\partial g$ and $B = \eta F$ is 1-strongly
    monotone. A step from the iterate $v$, the snapshot $w$ and the snapshot $w'$ of the step before is

    $$v \leftarrow J_{\tau A}\bigl(\alpha v + (1-\alpha) w - \tau\,[B(w) + B_i(v) - B_i(w')]\bigr)$$

    after which $w \leftarrow v$ with probability $p$, and costs two components and one proximal map; a
    refreshed snapshot costs all components, as does the first.

    Args:
        problem: the inclusion.
        u: where to take the resolvent.
        eta: $\eta$.
        how: $p$, $\alpha$ and $\tau$.
        steps: at most so many.
        accuracy: ends before, where a refreshed snapshot has $\|v + \eta(F(v) + c) - u\|$ below this
            multiple of $\|v - u\|$.
        key: for the components and refreshes.

    Returns:
        The point and what it took.

    Source:
        Alacaoglu, Malitsky, Cevher 2021, Forward-reflected-backward method with variance reduction;
        Alacaoglu, Malitsky 2022, Stochastic variance reduction for variational inequality methods,
        arXiv 2102.08352.
    """
    tau = how.step
    scale = tau * eta / (1 + tau)

    def turn(c: _Carry) -> _Carry:
        draw, toss = jax.random.split(jax.random.fold_in(key, c.steps))
        index = jax.random.randint(draw, (1,), 0, problem.count)
        here, there = problem.sample_operator(c.v, index), problem.sample_operator(c.before, index)

        def forward(v, w, all_w, one_v, one_w, u):
            s = how.weight * v + (1 - how.weight) * w - tau * eta * (all_w + one_v - one_w)
            return ((s + tau * u) / (1 + tau)).astype(v.dtype)

        s = jax.tree.map(forward, c.v, c.snapshot, c.value, here, there, u)
        v = problem.prox(s, scale)
        fresh = jax.random.uniform(toss) < how.chance

        def refreshed() -> tuple:
            value = problem.operator(v)
            off = jax.tree.map(lambda v, F, s, u: v - u + eta * (F + (s - v) / scale), v, value, s, u)
            return v, value, tree.norm(off) <= accuracy * tree.norm(tree.subtract(v, u))

        snapshot, value, done = jax.lax.cond(fresh, refreshed, lambda: (c.snapshot, c.value, c.done))
        return _Carry(v, snapshot, c.snapshot, value, c.steps + 1, c.refreshes + fresh, done)

    begun = _Carry(u, u, u, problem.operator(u), jnp.zeros((), int), jnp.ones((), int), jnp.asarray(False))
    last = jax.lax.while_loop(lambda c: ~c.done & (c.steps < steps), turn, begun)
    return Resolved(last.v, last.steps, last.refreshes)
