"""Counting the oracles in somebody else's program: by reading the program, not by trusting its author."""

import contextlib
import contextvars
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np
from jax.extend.core import primitives
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


def run_counted(program: Callable, *args: Any) -> tuple[Any, dict[str, Any]]:
    """Runs ``program(*args)``, traced once, and counts the oracles and factorisations in it.

    Where data decide how many there are, in a conditional whose branches differ or in a loop of unknown
    length, the counts are computed along with the result; under ``vmap`` they are each member's own. What
    the program itself maps over a batch is counted once.

    Args:
        program: a pure function of pytrees of arrays; it may close over traced arrays.
        *args: its arguments.

    Returns:
        Its result, and the counts by name, as `Calls.add` takes them: integers where they are the same
        whatever the data, else arrays.

    Raises:
        TypeError: data decide the counts inside something that cannot be taken apart, such as ``shard_map``.

    Example:
        >>> import jax.numpy as jnp
        >>> f = oracle(lambda x: x**2, value=1)
        >>> y, counts = run_counted(lambda x: f(x) + f(f(x)), jnp.asarray(2.0))
        >>> float(y), counts
        (20.0, {'value': 3})
        >>> square_up_to = lambda x: jax.lax.while_loop(lambda x: f(x) < 100, f, x)
        >>> y, counts = run_counted(square_up_to, jnp.asarray(2.0))
        >>> float(y), int(counts["value"])  # three tests, two turns
        (16.0, 5)
    """
    closed, shape = jax.make_jaxpr(program, return_shape=True)(*args)
    inputs = jax.tree.leaves(args)
    counts, varying = _read(closed.jaxpr)
    if varying:
        names = tuple(counts)
        out, totals = _Counting(names).run(closed, inputs)
        counts = {name: totals[i] for i, name in enumerate(names)}
    else:
        out = jex.jaxpr_as_fun(closed)(*inputs)
    leaves, treedef = jax.tree.flatten(shape)
    out = [jnp.asarray(v, s.dtype) for v, s in zip(out, leaves, strict=True)]  # literals come as numbers
    return jax.tree.unflatten(treedef, out), dict(counts)


def _read(jaxpr: jex.Jaxpr) -> tuple[Counter, bool]:
    """The counts of a program, and whether data decide them; then only their names are of use."""
    return _sum(map(_read_equation, jaxpr.eqns))


def _read_equation(e: jex.JaxprEqn) -> tuple[Counter, bool]:
    name = e.params.get("name")
    if isinstance(name, str) and name.startswith(_PREFIX):
        pairs = (p.split("=") for p in name.removeprefix(_PREFIX).split(", "))
        return Counter({k: int(n) for k, n in pairs}), False
    if e.primitive.name in _FACTORISATIONS:
        return Counter(factorisation=1), False
    inner = [_read(j) for p in e.params.values() for j in _programs(p)]
    counts, varying = _sum(inner)
    if e.primitive is primitives.cond_p:
        differ = any(branch != inner[0][0] for branch, _ in inner)
        return (counts, True) if varying or differ else inner[0]
    if e.primitive is primitives.while_p:
        return counts, bool(counts)
    turns = e.params["length"] if e.primitive is primitives.scan_p else 1
    return Counter({k: turns * n for k, n in counts.items()}), varying


def _sum(parts: Iterable[tuple[Counter, bool]]) -> tuple[Counter, bool]:
    total, varying = Counter(), False
    for counts, one_varies in parts:
        total.update(counts)
        varying |= one_varies
    return total, varying


class _Counting:
    """Evaluates programs equation by equation, an array of the counts of ``names`` along with each result.

    Equations whose counts data decide are made anew with the counts among what they return or carry; the
    others are evaluated as they are.
    """

    def __init__(self, names: tuple[str, ...]):
        self.names = names
        self.none = jnp.zeros(len(names), jnp.int32)

    def run(self, closed: jex.ClosedJaxpr, inputs: Iterable[Any]) -> tuple[list, Array]:
        jaxpr = closed.jaxpr
        env = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*closed.consts, *inputs), strict=True))
        total = self.none
        for e in jaxpr.eqns:
            arguments = [v.val if isinstance(v, jex.Literal) else env[v] for v in e.invars]
            counts, varying = _read_equation(e)
            if varying:
                outputs, more = self.remade(e, jaxpr, arguments)
                total = total + more
            else:
                outputs = _alone(e, jaxpr)(*arguments)
                if counts:
                    total = total + jnp.array([counts[name] for name in self.names], jnp.int32)
            env.update(zip(e.outvars, outputs, strict=True))
        # A literal comes as a number, but here its type matters.
        literal = lambda v: jnp.asarray(v.val, v.aval.dtype)  # noqa: E731
        return [literal(v) if isinstance(v, jex.Literal) else env[v] for v in jaxpr.outvars], total

    def remade(self, e: jex.JaxprEqn, around: jex.Jaxpr, arguments: list) -> tuple[list, Array]:
        if e.primitive is primitives.cond_p:
            which, *operands = arguments
            branches = [lambda *v, b=b: self.run(b, v) for b in e.params["branches"]]
            return jax.lax.switch(which, branches, *operands)
        if e.primitive is primitives.while_p:
            return self.while_loop(e.params, arguments)
        if e.primitive is primitives.scan_p:
            return self.scan(e.params, arguments)
        if e.primitive is primitives.jit_p:
            return self.run(e.params["jaxpr"], arguments)
        if e.primitive is primitives.remat_p:
            closed = jex.ClosedJaxpr(e.params["jaxpr"], ())
            kept = {k: e.params[k] for k in ("prevent_cse", "policy")}
            return jax.checkpoint(lambda *v: self.run(closed, v), **kept)(*arguments)
        if e.primitive in (primitives.custom_jvp_call_p, primitives.custom_vjp_call_p):
            return self.with_derivative_of(_alone(e, around), e.params["call_jaxpr"], arguments)
        raise TypeError(f"calls inside {e.primitive.name} cannot be counted, because data decide how many")

    def while_loop(self, params: dict, arguments: list) -> tuple[list, Array]:
        n = params["cond_nconsts"]
        m = n + params["body_nconsts"]

        def test(carry: list) -> tuple[Array, Array]:
            (go,), counts = self.run(params["cond_jaxpr"], [*arguments[:n], *carry])
            return go, counts

        def turn(state: tuple) -> tuple:
            _, carry, total = state
            carry, counts = self.run(params["body_jaxpr"], [*arguments[n:m], *carry])
            go, more = test(carry)
            return go, carry, total + counts + more

        go, counts = test(arguments[m:])
        _, out, total = jax.lax.while_loop(lambda state: state[0], turn, (go, arguments[m:], counts))
        return out, total

    def scan(self, params: dict, arguments: list) -> tuple[list, Array]:
        n, carried = params["num_consts"], params["num_carry"]
        m = n + carried

        def turn(state: tuple, x: list) -> tuple:
            carry, total = state
            out, counts = self.run(params["jaxpr"], [*arguments[:n], *carry, *x])
            return (out[:carried], total + counts), out[carried:]

        kept = {k: params[k] for k in ("length", "reverse", "unroll")}
        (carry, total), ys = jax.lax.scan(turn, (arguments[n:m], self.none), arguments[m:], **kept)
        return [*carry, *ys], total

    def with_derivative_of(self, whole: Callable, closed: jex.ClosedJaxpr, arguments: list) -> tuple:
        """The counted program with the custom derivative of the whole equation."""
        counted = jax.custom_jvp(lambda *v: self.run(closed, v))

        @counted.defjvp
        def _rule(primals: tuple, tangents: tuple) -> tuple:
            moved = jax.jvp(lambda *v: list(whole(*v)), primals, tangents)[1]
            return counted(*primals), (moved, np.zeros(len(self.names), jax.dtypes.float0))

        return counted(*arguments)


def _alone(e: jex.JaxprEqn, around: jex.Jaxpr) -> Callable:
    """An equation of a program as a function of all that it reads."""
    read: list[Any] = [jex.Var(v.aval) for v in e.invars]
    jaxpr = around.replace(constvars=[], invars=read, outvars=e.outvars, eqns=[e.replace(invars=read)])
    return jex.jaxpr_as_fun(jex.ClosedJaxpr(jaxpr, ()))


def _programs(parameter: Any) -> Iterator[jex.Jaxpr]:
    if isinstance(parameter, jex.ClosedJaxpr):
        yield parameter.jaxpr
    elif isinstance(parameter, jex.Jaxpr):
        yield parameter
    elif isinstance(parameter, tuple | list):
        for p in parameter:
            yield from _programs(p)
