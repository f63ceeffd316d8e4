"""Counting the oracles in somebody else's program: by reading the program, not by trusting its author."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.extend.core as jex

_PREFIX = "frechet oracle: "
_FACTORISATIONS = {"cholesky", "eig", "eigh", "geqrf", "lu", "qr", "svd"}  # primitives


def oracle(fn: Callable, **counts: int) -> Callable:
    """``fn``, marked so that a program which calls it shows the call; ``counts`` are what one call costs."""

    def marked(*args):
        return fn(*args)

    marked.__name__ = _PREFIX + ", ".join(f"{k}={n}" for k, n in counts.items())
    return jax.jit(marked)


def run_counted(program: Callable, *args: Any) -> tuple[Any, dict[str, int]]:
    """Runs ``program(*args)``, traced once, and counts the oracles and factorisations in it.

    Of a conditional the dearer branch is counted, of a scan every turn.

    Args:
        program: a pure function of pytrees of arrays; it may close over traced arrays.
        *args: its arguments.

    Returns:
        Its result, and the counts by name, as `Calls.add` takes them.

    Raises:
        TypeError: an oracle is called in a loop whose number of turns depends on data.

    Example:
        >>> import jax.numpy as jnp
        >>> f = oracle(lambda x: x**2, value=1)
        >>> y, counts = run_counted(lambda x: f(x) + f(f(x)), jnp.asarray(2.0))
        >>> float(y), counts
        (20.0, {'value': 3})
    """
    closed, shape = jax.make_jaxpr(program, return_shape=True)(*args)
    out = jex.jaxpr_as_fun(closed)(*jax.tree.leaves(args))
    return jax.tree.unflatten(jax.tree.structure(shape), out), dict(_count(closed.jaxpr))


def _count(jaxpr: jex.Jaxpr) -> Counter:
    total: Counter = Counter()
    for e in jaxpr.eqns:
        name = e.params.get("name")
        if isinstance(name, str) and name.startswith(_PREFIX):
            pairs = (p.split("=") for p in name.removeprefix(_PREFIX).split(", "))
            total.update({k: int(n) for k, n in pairs})
            continue
        total[_KEY] += e.primitive.name in _FACTORISATIONS
        inner = [_count(j) for p in e.params.values() for j in _programs(p)]
        if e.primitive is jax.lax.cond_p:
            for k in set().union(*inner):
                total[k] += max(c[k] for c in inner)
        elif e.primitive is jax.lax.while_p and any(set(c) - {_KEY} for c in inner):
            raise TypeError("the wrapped solver calls the function in a loop, so its calls cannot be counted")
        else:
            turns = e.params["length"] if e.primitive is jax.lax.scan_p else 1
            for c in inner:
                total.update({k: turns * n for k, n in c.items()})
    return Counter({k: n for k, n in total.items() if n})


_KEY = "factorisation"


def _programs(parameter: Any) -> Iterator[jex.Jaxpr]:
    if isinstance(parameter, jex.ClosedJaxpr):
        yield parameter.jaxpr
    elif isinstance(parameter, jex.Jaxpr):
        yield parameter
    elif isinstance(parameter, tuple | list):
        for p in parameter:
            yield from _programs(p)
