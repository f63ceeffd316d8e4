"""One MLIR context for the programs of a file of tests, in place of one for each program."""

import functools

from jax.interpreters import mlir

_make = mlir.make_ir_context


@functools.lru_cache(maxsize=1)
def _shared() -> object:
    return _make()


def _lent() -> object:
    # What is compiled while something else is lowered would be put into that if contexts were the same.
    return _shared() if _current() is None else _make()


def _current() -> object:
    try:
        return mlir.ir.Context.current
    except ValueError:  # there is none
        return None


def share() -> None:
    """Makes programs share a context from now on.

    JAX makes one for each program and loads every dialect into it, which takes as long as lowering and
    compiling a small operation, of which tests have tens of thousands. A context holds no program, only what
    programs have in common: names, types, locations.
    """
    if not hasattr(_make, "__globals__") or _make.__globals__.get("make_ir_context") is not _make:
        return  # a version of JAX that makes contexts in another way: tests take longer
    _make.__globals__["make_ir_context"] = _lent


def renew() -> None:
    """Begins another context, so that none grows without bound."""
    _shared.cache_clear()
