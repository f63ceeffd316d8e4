"""Counting the oracles in somebody else's program: by reading the program, not by trusting its author."""

import contextlib
import contextvars
import functools
import operator
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp
from jaxtyping import Array, PyTree

_PREFIX = "frechet oracle: "
_FACTORISATIONS = {"cholesky", "eig", "eigh", "geqrf", "lu", "qr", "svd"}  # primitives


def oracle(fn: Callable, **counts: int) -> Callable:
    """``fn``, marked so that a program which calls it shows the call; ``counts`` are what one call costs."""

    marked = problems_own(lambda *args: fn(*args))
    marked.__name__ = _PREFIX + ", ".join(f"{k}={n}" for k, n in counts.items())
    return jax.jit(marked)


# Whether x64 is on for the problem, while somebody else's program is traced in the precision of x.
_x64: contextvars.ContextVar[bool | None] = contextvars.ContextVar("x64", default=None)


@contextlib.contextmanager
def precision_of(x: PyTree[Array]) -> Iterator[None]:
    """Makes the default float no wider than ``x``, for code that creates arrays of the default dtype.

    What `problems_own` wraps is still traced as it would be outside.
    """
    outer = jax.config.jax_enable_x64  # pyright: ignore[reportAttributeAccessIssue]
    token = _x64.set(outer)
    try:
        narrow = jnp.finfo(jnp.result_type(*jax.tree.leaves(x))).bits <= 32
        with jax.enable_x64(outer and not narrow), warnings.catch_warnings():
            # Truncation to the precision of x is what is wanted here.
            warnings.filterwarnings("ignore", "Explicitly requested dtype float64")
            yield
    finally:
        _x64.reset(token)


def problems_own(fn: Callable) -> Callable:
    """``fn``, traced with x64 as it was outside of `precision_of`."""

    def traced(*args):
        outer = _x64.get()
        with contextlib.nullcontext() if outer is None else jax.enable_x64(outer):
            return fn(*args)

    return traced


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
