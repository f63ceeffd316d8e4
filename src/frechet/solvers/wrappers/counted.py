"""Counting the oracles in somebody else's program: by reading the program, not by trusting its author."""

import functools
import operator
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp

_PREFIX = "frechet oracle: "
_FACTORISATIONS = {"cholesky", "eig", "eigh", "geqrf", "lu", "qr", "svd"}  # primitives


def oracle(fn: Callable, **counts: int) -> Callable:
    """``fn``, marked so that a program which calls it shows the call; ``counts`` are what one call costs."""

    def marked(*args):
        return fn(*args)

    marked.__name__ = _PREFIX + ", ".join(f"{k}={n}" for k, n in counts.items())
    return jax.jit(marked)


def run_counted(program: Callable, *args: Any) -> tuple[Any, dict[str, int], dict[str, int]]:
    """Runs ``program(*args)``, traced once, and counts the oracles and factorisations in it.

    Of a conditional the dearer branch is counted, of a scan every turn.

    Args:
        program: a pure function of pytrees of arrays; it may close over traced arrays.
        *args: its arguments.

    Returns:
        Its result; the counts by name, as `Calls.add` takes them; and what a turn of the loops in it that
        depend on data costs in addition.

    Example:
        >>> import jax.numpy as jnp
        >>> f = oracle(lambda x: x**2, value=1)
        >>> y, counts, per_turn = run_counted(lambda x: f(x) + f(f(x)), jnp.asarray(2.0))
        >>> float(y), counts, per_turn
        (20.0, {'value': 3}, {})
    """
    closed, shape = jax.make_jaxpr(program, return_shape=True)(*args)
    out = jex.jaxpr_as_fun(closed)(*jax.tree.leaves(args))
    leaves, treedef = jax.tree.flatten(shape)
    out = [jnp.asarray(v, s.dtype) for v, s in zip(out, leaves, strict=True)]  # literals come as numbers
    counts, per_turn = _count(closed.jaxpr)
    return jax.tree.unflatten(treedef, out), dict(counts), dict(per_turn)


def _count(jaxpr: jex.Jaxpr) -> tuple[Counter, Counter]:
    """Counts outside of loops that depend on data, and inside of them."""
    once, looped = Counter(), Counter()
    for e in jaxpr.eqns:
        name = e.params.get("name")
        if isinstance(name, str) and name.startswith(_PREFIX):
            pairs = (p.split("=") for p in name.removeprefix(_PREFIX).split(", "))
            once.update({k: int(n) for k, n in pairs})
        elif e.primitive.name in _FACTORISATIONS:
            once["factorisation"] += 1
        else:
            inner = [_count(j) for p in e.params.values() for j in _programs(p)]
            merge = operator.or_ if e.primitive is jax.lax.cond_p else operator.add
            here = functools.reduce(merge, (i[0] for i in inner), Counter())
            deeper = functools.reduce(merge, (i[1] for i in inner), Counter())
            if e.primitive is jax.lax.while_p:
                here, deeper = Counter(), here + deeper
            turns = e.params["length"] if e.primitive is jax.lax.scan_p else 1
            once.update({k: turns * n for k, n in here.items()})
            looped.update({k: turns * n for k, n in deeper.items()})
    return once, looped


def _programs(parameter: Any) -> Iterator[jex.Jaxpr]:
    if isinstance(parameter, jex.ClosedJaxpr):
        yield parameter.jaxpr
    elif isinstance(parameter, jex.Jaxpr):
        yield parameter
    elif isinstance(parameter, tuple | list):
        for p in parameter:
            yield from _programs(p)
