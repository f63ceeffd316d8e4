"""Batches that do not wait at full width for their slowest members."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Bool, PyTree

from frechet.core import tree

SHRINK = 8
"""A batch goes on at this fraction of its width as soon as no more of its members are left."""


class Loop(NamedTuple):
    """A loop over arrays in four parts; ``args`` stay as they are, ``carry`` changes.

    ``begin(args) -> carry``, ``turn(args, carry) -> carry`` while ``running(carry)``, ``end(args, carry)``.
    """

    begin: Callable[[PyTree], PyTree]
    turn: Callable[[PyTree, PyTree], PyTree]
    running: Callable[[PyTree], Bool[Array, ""]]
    end: Callable[[PyTree, PyTree], Any]


def whole(loop: Loop, args: PyTree[Array]) -> Any:
    """Runs the loop; under vmap every member is computed until the last is done."""
    turn = lambda carry: loop.turn(args, carry)  # noqa: E731
    return loop.end(args, jax.lax.while_loop(loop.running, turn, loop.begin(args)))


def compacting(loop: Loop, args: PyTree[Array]) -> Any:
    """As `whole`, but under vmap the unfinished members are gathered as the others finish.

    Shapes are static, so the widths are fixed beforehand: those of the batch divided by `SHRINK` again and
    again. Each is a program of its own. A lone solve is not affected.
    """

    @custom_vmap
    def run(args: PyTree[Array]) -> Any:
        return whole(loop, args)

    @run.def_vmap
    def rule(size: int, batched: Any, args: PyTree[Array]) -> tuple[Any, Any]:
        (mapped,) = batched
        axes = jax.tree.map(lambda b: 0 if b else None, mapped)
        of_members = lambda f: jax.vmap(f, in_axes=(axes, 0), axis_size=size)  # noqa: E731
        carry = jax.vmap(loop.begin, in_axes=(axes,), axis_size=size)(args)
        running = jax.vmap(loop.running)
        widths = [size]
        while widths[-1] >= 2 * SHRINK:
            widths.append(widths[-1] // SHRINK)
        for width, enough in itertools.pairwise([*widths, 0]):
            # Places beyond the members left hold a copy of the last one, which is not written back.
            members = jnp.nonzero(running(carry), size=width, fill_value=size)[0]
            place = jnp.minimum(members, size - 1)
            own = jax.tree.map(lambda v, b: v[place] if b else v, args, mapped) if width < size else args  # noqa: B023
            part = jax.tree.map(lambda v: v[place], carry) if width < size else carry  # noqa: B023
            real = members < size if width < size else jnp.ones(size, bool)
            part = _until(loop, axes, own, part, real, enough)
            if width < size:
                part = jax.tree.map(lambda v, p: v.at[members].set(p, mode="drop"), carry, part)  # noqa: B023
            carry = part
        out = of_members(loop.end)(args, carry)
        return out, jax.tree.map(lambda _: True, out)

    return run(args)


def _until(loop: Loop, axes: PyTree, args: PyTree, carry: PyTree, real: Array, enough: int) -> PyTree:
    """Turns for all members at once, until no more than ``enough`` are running; the others stay frozen."""

    def left(carry: PyTree) -> Array:
        return jax.vmap(loop.running)(carry) & real

    def turn(carry: PyTree) -> PyTree:
        ahead = jax.vmap(loop.turn, in_axes=(axes, 0), axis_size=np.size(real))(args, carry)
        return jax.vmap(tree.where)(left(carry), ahead, carry)

    return jax.lax.while_loop(lambda c: jnp.sum(left(c)) > enough, turn, carry)
