"""A problem's results where models were trained, as text: for the terminal and for Markdown."""

import numpy as np

from frechet.workbench.comparing.result import Comparison, Outcome, show_height, show_seconds, show_settings


def training_table(comparison: Comparison, index: int) -> tuple[list[str], list[list[str]]]:
    """Heads and rows, solvers best first: what the target took, what they came to, and what they cost.

    Args:
        comparison: what was found.
        index: of a problem without an optimality map.
    """
    card = comparison.plan.problems[index]
    goal = comparison.goals[0]
    time, steps = (comparison.costs(goal, m)[0, :, index] for m in ("seconds", "step"))
    found = {
        s: trained
        for s, solver in enumerate(comparison.plan.solvers)
        if (trained := comparison.outcome(card, solver.name)) is not None
    }
    sign = -1 if card.more_is_better else 1
    order = sorted(found, key=lambda s: (time[s], sign * found[s].final[0], s))
    heads = ["solver", "time", "steps", f"final {show_height(card.watched)}"]
    heads += ["state", "a step", "diverged", "settings"]
    rows = [
        [
            comparison.plan.solvers[s].name,
            show_seconds(time[s]),
            f"{steps[s]:.0f}" if np.isfinite(steps[s]) else "–",
            _spread(*found[s].final),
            "–" if found[s].state is None else f"{found[s].state:.2g}x",
            f"{show_seconds(found[s].step_seconds)} ({found[s].step:.2g}x)",
            f"{found[s].diverged}/{found[s].tried}" if found[s].tried else "–",
            _settings(found[s]),
        ]
        for s in order
    ]
    return heads, rows


def _spread(middle: float, least: float, most: float) -> str:
    if not np.isfinite(middle):
        return "–"
    shown = [f"{v:.4g}" for v in (middle, least, most)]
    return shown[0] if len(set(shown)) == 1 else f"{shown[0]} ({shown[1]} to {shown[2]})"


def _settings(trained: Outcome) -> str:
    edge = f" ({trained.edge})" if trained.edge else ""
    return show_settings(trained.settings) + edge or "not tuned"
