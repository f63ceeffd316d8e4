"""Frechet inside other frameworks; each is loaded when named."""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    if name == "torch":
        return importlib.import_module("frechet.interop.torch")
    raise AttributeError(f"frechet.interop has no {name}; it has torch")
