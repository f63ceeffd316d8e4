"""Optimizers are declared where they are written, and found, not listed."""

import dataclasses
import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType, ModuleType
from typing import Any

from frechet.core.space import Range, Space

Factory = Callable[..., Any]


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """What is declared of a function that makes an optax transformation.

    Attributes:
        name: what it is called on the command line: the function's, with hyphens.
        factory: makes the transformation; every parameter has a default.
        space: the hyperparameters worth tuning and where they may lie.
        needs: oracles of the problem (keys of ``problem.offers()``) that it cannot do without.
        converges: whether it comes near the minimum of any strongly convex function with some learning rate
            of its space. One that leaves norms alone, say, does not, and is checked for descent only.
    """

    name: str
    factory: Factory
    space: Space
    needs: frozenset[str]
    converges: bool = True


_declared: dict[Factory, Optimizer] = {}


def optimizer(
    *, space: Mapping[str, Range], needs: Iterable[str] = ("smooth",), converges: bool = True
) -> Callable[[Factory], Factory]:
    """Declares a function to be an optimizer that comparisons can tune.

    Args:
        space: the hyperparameters worth tuning, by parameter, and where they may lie.
        needs: oracles of a problem that it cannot do without.
        converges: whether it comes near the minimum of any strongly convex function.

    Returns:
        A decorator that leaves the function as it is.

    Raises:
        TypeError: a parameter has no default, or the space names what is none.

    Example:
        >>> import optax
        >>> from frechet.core.space import LogUniform
        >>> @optimizer(space={"learning_rate": LogUniform(1e-3, 1.0)})
        ... def my_sgd(learning_rate=0.1):
        ...     return optax.sgd(learning_rate)
        >>> declared(my_sgd).name
        'my-sgd'
    """

    def declare(factory: Factory) -> Factory:
        name = factory.__name__.replace("_", "-")
        parameters = inspect.signature(factory).parameters
        bare = [p.name for p in parameters.values() if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
        if bare:
            raise TypeError(f"optimizer {name}: every parameter needs a default, {', '.join(bare)} has none")
        unknown = sorted(space.keys() - parameters.keys())
        if unknown:
            raise TypeError(f"optimizer {name}: the space names {', '.join(unknown)}, which it does not take")
        _declared[factory] = Optimizer(
            name, factory, MappingProxyType(dict(space)), frozenset(needs), converges
        )
        return factory

    return declare


def declared(factory: Any) -> Optimizer | None:
    """What was declared of a function; None if nothing was."""
    try:
        return _declared.get(factory)
    except TypeError:  # what cannot be hashed was not declared
        return None


def modules() -> list[ModuleType]:
    """Every module below ``frechet.optimizers``, imported."""
    package = importlib.import_module("frechet.optimizers")
    found = pkgutil.walk_packages(package.__path__, "frechet.optimizers.")
    return [importlib.import_module(m.name) for m in found]


@functools.cache
def optimizers() -> Mapping[str, Optimizer]:
    """The library's own optimizers, by name.

    Example:
        >>> optimizers()["adan"].factory.__name__
        'adan'
    """
    names = {m.__name__ for m in modules()}
    found: dict[str, Optimizer] = {}
    for factory, entry in _declared.items():
        if factory.__module__ not in names:
            continue
        if entry.name in found:
            raise ValueError(f"two optimizers are called {entry.name}; rename one")
        found[entry.name] = entry
    return MappingProxyType(dict(sorted(found.items())))
