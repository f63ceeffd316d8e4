"""``jaxopt.loop``: a while loop with a bounded number of iterations."""

from collections.abc import Callable
from typing import Any

import jax


def while_loop(
    cond_fun: Callable[[Any], Any],
    body_fun: Callable[[Any], Any],
    init_val: Any,
    maxiter: Any,
    unroll: bool = False,
    jit: bool = False,
) -> Any:
    """Applies ``body_fun`` while ``cond_fun`` holds, at most ``maxiter`` times.

    Args:
        cond_fun: from a pytree to a boolean.
        body_fun: from a pytree to one like it.
        init_val: where to start.
        maxiter: the bound; static where ``unroll``.
        unroll: whether reverse-mode derivatives go through it (a scan, or without ``jit`` a Python loop).
        jit: whether the loop is compiled.

    Raises:
        ValueError: neither ``unroll`` nor ``jit``.
    """
    if not unroll and not jit:
        raise ValueError("unroll=False and jit=False cannot be used together")
    if not jit:
        for _ in range(maxiter):
            if not cond_fun(init_val):
                break
            init_val = body_fun(init_val)
        return init_val
    if not unroll:
        _, found = jax.lax.while_loop(
            lambda at: (at[0] < maxiter) & cond_fun(at[1]),
            lambda at: (at[0] + 1, body_fun(at[1])),
            (0, init_val),
        )
        return found

    def bounded(at: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], None]:
        def advance(val: Any) -> tuple[Any, Any]:
            val = body_fun(val)
            return val, cond_fun(val)

        return jax.lax.cond(at[1], advance, lambda val: (val, False), at[0]), None

    return jax.lax.scan(bounded, (init_val, cond_fun(init_val)), None, length=maxiter)[0][0]
