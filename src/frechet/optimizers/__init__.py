"""Published training methods as optax transformations, a file a method; loaded when named."""

import functools
import inspect
import sys
import types
from typing import Any


class _Optimizers(types.ModuleType):
    """A method's file and its function share a name; importing the file must not hide the function."""

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, types.ModuleType):
            value = vars(value).get(name, value)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Optimizers


@functools.cache
def _public() -> dict[str, Any]:
    from frechet.optimizers.registry import modules

    return {
        name: v
        for m in modules()
        for name, v in vars(m).items()
        if not name.startswith("_") and (inspect.isfunction(v) or inspect.isclass(v))
        if v.__module__ == m.__name__
    }


def __getattr__(name: str) -> Any:
    if name.startswith("_") or name == "registry":
        raise AttributeError(name)
    if name in _public():
        return _public()[name]
    raise AttributeError(f"no optimizer is called {name}; known are {', '.join(sorted(_public()))}")


def __dir__() -> list[str]:
    return sorted(_public())
