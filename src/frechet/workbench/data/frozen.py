"""Loaders that run once and hand out arrays nobody can change."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np


def loaded_once(loader: Callable[[], np.ndarray | tuple[np.ndarray, ...]]) -> Callable[[], Any]:
    """A loader without arguments, run once, its arrays read-only: they are shared by everyone."""

    @functools.lru_cache(maxsize=1)
    @functools.wraps(loader)
    def load():
        loaded = loader()
        for array in loaded if isinstance(loaded, tuple) else (loaded,):
            array.flags.writeable = False
        return loaded

    return load
