"""What the benchmark scripts share: interleaved timing of alternatives in one process, as ratios."""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def interleaved(
    alternatives: dict[str, Callable[[], Any]], repeats: int = 15, inner: int = 1
) -> dict[str, float]:
    """Median seconds of each alternative, run in turns so that a drifting machine hurts all alike.

    Args:
        alternatives: what to time, by name; results are waited for.
        repeats: rounds over all alternatives, after one that is not counted.
        inner: calls a round.
    """
    times: dict[str, list[float]] = {name: [] for name in alternatives}
    for round in range(repeats + 1):
        for name, call in alternatives.items():
            start = time.perf_counter()
            for _ in range(inner):
                jax.block_until_ready(call())
            if round:
                times[name].append((time.perf_counter() - start) / inner)
    return {name: float(np.median(t)) for name, t in times.items()}


def first_call(make: Callable[[], Callable[[], Any]]) -> float:
    """Seconds of the first call of what ``make`` returns, with JAX's caches cleared: compilation included."""
    jax.clear_caches()
    call = make()
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start


def report(title: str, ratio: float, bar: float, detail: str = "") -> bool:
    """Prints a ratio beside its bar; true if the bar is met."""
    met = ratio <= bar
    print(f"{'met   ' if met else 'missed'}  {title}: {ratio:.2f} (bar {bar:g})  {detail}".rstrip())
    return met
