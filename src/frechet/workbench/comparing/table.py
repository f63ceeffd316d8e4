"""The final ranked table on a terminal."""

from typing import TYPE_CHECKING

import numpy as np

from frechet.workbench.comparing.result import Comparison, show_seconds

if TYPE_CHECKING:
    from rich.table import Table


def ranked(comparison: Comparison) -> "Table":
    """Solvers best first: place, problems solved, typical slowdown, and run time to the tolerance a problem.

    Args:
        comparison: what was found.

    Returns:
        A Rich table, for ``Console().print``.
    """
    from rich.table import Table

    goal = comparison.goals[0]
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
