"""A solver's settings as a pytree, and programs compiled once for settings and shapes."""

import dataclasses
import functools
import warnings
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np

from frechet.core import lift
from frechet.core.solve import join, split


class _Fixed:
    """A setting that is part of the program: compared by value and type, else by identity."""

    def __init__(self, value: Any):
        self.value = value
        try:
            self.key: Any = (type(value), hash(value), value)
        except TypeError:
            self.key = id(value)

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Fixed) and self.key == other.key


class _Called(eqx.Module):
    """A lifted callable with the signature it had."""

    lifted: Callable

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.lifted(args, kwargs)


class Settings(eqx.Module):
    """A solver as a pytree: arrays and what its callables captured are leaves, the rest is static."""

    kind: type = eqx.field(static=True)
    values: dict[str, Any]

    @staticmethod
    def of(solver: Any, calls: dict[str, Any]) -> "Settings":
        """The settings; ``calls`` holds example arguments of those that are functions.

        For a setting that is a solver itself it holds a dictionary of the same kind.
        """
        values = dict(zip(solver.attribute_names(), solver.attribute_values(), strict=True))
        for name, value in values.items():
            if isinstance(calls.get(name), dict):
                values[name] = Settings.of(value, calls[name])
            elif callable(value) and name in calls:
                values[name] = _lifted(name, value, *calls[name])
            elif not isinstance(value, jax.Array) and name != "tol":
                values[name] = _Fixed(value)
        return Settings(type(solver), values)

    def solver(self) -> Any:
        """The solver again."""
        with warnings.catch_warnings():  # it warned when it was made
            warnings.simplefilter("ignore")
            return self.kind(**{k: _unpacked(v) for k, v in self.values.items()})


def _unpacked(v: Any) -> Any:
    if isinstance(v, Settings):
        return v.solver()
    return v.value if isinstance(v, _Fixed) else v


def compiled(program: Callable, settings: Settings, *operands: Any) -> Any:
    """``program(solver, *operands)``, compiled once for settings and shapes."""
    dynamic, static = split((settings, operands))
    return _compiled((program, static), dynamic)


@functools.partial(jax.jit, static_argnums=0)
def _compiled(static: Any, dynamic: list) -> Any:
    program, static = static
    settings, operands = join(static, dynamic)
    return program(settings, *operands)


@functools.lru_cache(maxsize=256)
def _packed(fn: Callable) -> Callable:
    # Remembered, so that `lift` sees the same function again.
    return lambda args, kwargs: fn(*args, **kwargs)


def _lifted(name: str, fn: Callable, args: tuple, kwargs: dict) -> Any:
    numbers = (jax.Array, np.ndarray, np.generic, int, float, complex)
    if isinstance(fn, eqx.Module) or not all(isinstance(v, numbers) for v in jax.tree.leaves((args, kwargs))):
        return fn if isinstance(fn, eqx.Module) else _Fixed(fn)
    return _Called(lift.lift(_packed(fn), args, kwargs, what=name))


def warn_of_unused(solver: Any, *names: str) -> None:
    """A warning for each setting that was changed although the native solver has no use for it."""
    defaults = {f.name: f.default for f in dataclasses.fields(solver)}
    for name in names:
        if getattr(solver, name) != defaults[name]:
            message = f"{type(solver).__name__} takes {name} for compatibility and does not use it"
            warnings.warn(message, stacklevel=4)
