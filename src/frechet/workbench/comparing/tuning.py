"""Tuning: what is tried, the same number of configurations for every solver.

Trials have a seed of their own, the same for all of them: configurations meet the same start and the same
batches, and no final run repeats what was chosen on.
"""

from typing import Any

from frechet.core.space import Choice, Space

SEED = 1000
"""Of every trial; final runs have seeds 0, 1, ..."""
TRIALS = 8
"""How many where nothing else is said, on problems without an optimality map."""


def configurations(space: Space, defaults: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Settings to try: the defaults, then points of a scrambled Halton sequence in the space.

    More trials begin with those of fewer.

    Args:
        space: ranges by parameter.
        defaults: the solver's own settings, of which those in the space are taken.
        count: how many.

    Example:
        >>> from frechet.core.space import LogUniform
        >>> configurations({"learning_rate": LogUniform(1e-4, 1e-1)}, {"learning_rate": 1e-3, "eps": 0.0}, 3)
        [{'learning_rate': 0.001}, {'learning_rate': 0.0132335}, {'learning_rate': 0.00041848}]
    """
    from scipy.stats import qmc

    first = {name: defaults[name] for name in space if _plain(defaults.get(name))}
    points = qmc.Halton(len(space), rng=0).random(max(0, count - 1))
    drawn = [{name: _short(r.at(u)) for (name, r), u in zip(space.items(), p, strict=True)} for p in points]
    return [first, *drawn][:count]


def _plain(value: Any) -> bool:
    return isinstance(value, bool | int | float | str)


def _short(value: Any) -> Any:
    """Numbers that can be typed again; the rest as it is."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def unsuited(space: Space) -> str | None:
    """Why a space cannot be searched here; None if it can."""
    for name, values in space.items():
        for value in values.values if isinstance(values, Choice) else [values.at(0.5)]:
            if value is not None and not _plain(value):
                return f"its {name} may be {value!r}; choices should be numbers, strings or booleans"
    return None
