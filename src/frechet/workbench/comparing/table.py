"""The final ranked table on a terminal."""

from typing import TYPE_CHECKING

import numpy as np

from frechet.workbench.comparing.result import Comparison, show_seconds
from frechet.workbench.comparing.training_table import training_table

if TYPE_CHECKING:
    from rich.table import Table


def ranked(comparison: Comparison) -> "Table":
    """Solvers best first: place, problems solved, typical slowdown, and run time to the tolerance a problem.

    For the training of one model: what the target took, what solvers came to, their costs and settings.

    Args:
        comparison: what was found.

    Returns:
        A Rich table, for ``Console().print``.
    """
    from rich.table import Table

    goal = comparison.goals[0]
    if len(comparison.plan.problems) == 1 and not comparison.plan.problems[0].testable:
        return _trained(comparison)
    middle = comparison.costs(goal, "seconds")[0]
    best = middle.min(axis=0)
    table = Table(title=f"Run time to a {goal.label}", box=None, pad_edge=False, title_justify="left")
    table.add_column("", justify="right")
    table.add_column("solver", no_wrap=True)
    table.add_column("solved", justify="right")
    table.add_column("slowdown", justify="right")
    for problem in comparison.plan.problems:
        table.add_column(problem.name, justify="right", overflow="fold")
    total = len(comparison.plan.problems)
    for place, rank in enumerate(comparison.ranking(), 1):
        cells = []
        for p in range(total):
            value = middle[rank.solver, p]
            first = np.isfinite(value) and value == best[p]
            cells.append(f"[bold green]{show_seconds(value)}[/]" if first else show_seconds(value))
        slowdown = f"{rank.slowdown:.2f}x" if rank.solved else "–"
        name = comparison.plan.solvers[rank.solver].name
        table.add_row(str(place), name, f"{rank.solved}/{comparison.tried(name)}", slowdown, *cells)
    return table


def _trained(comparison: Comparison) -> "Table":
    from rich.table import Table

    heads, rows = training_table(comparison, 0)
    title = f"Time and steps to a {comparison.goals[0].label} (costs: multiples of parameters, cheapest step)"
    table = Table(title=title, box=None, pad_edge=False, title_justify="left")
    for place, head in enumerate(heads):
        left = place in (0, len(heads) - 1)
        table.add_column(head, justify="left" if left else "right", no_wrap=place == 0, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
