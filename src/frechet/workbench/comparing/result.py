"""What a comparison found: everything a table, a figure or the page is made from."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from frechet.workbench.comparing.plan import Plan
from frechet.workbench.comparing.profile import Goal, Rank, Reference, cost, goals, ranking
from frechet.workbench.comparing.record import Record


@dataclass
class Comparison:
    """The outcome of `frechet.workbench.comparing.compare`.

    Attributes:
        plan: what was to be run.
        records: the runs there are, in the plan's order.
        references: for every problem the optimum that gaps are measured from.
        environment: machine and versions.
        engine: how the runs were spread.
        command: the command that makes this comparison.
        folder: where the results are.
        repeated: how many runs were found finished and not run again.
        interrupted: whether it was stopped before its end; the same call goes on from there.
        messages: what a person should know, such as a damaged file that was set aside.
    """

    plan: Plan
    records: list[Record]
    references: dict[str, Reference]
    environment: dict[str, str]
    engine: str
    command: str
    folder: Path
    repeated: int = 0
    interrupted: bool = False
    messages: list[str] = field(default_factory=list)

    @property
    def failed(self) -> list[Record]:
        """The runs that came to nothing."""
        return [r for r in self.records if r.failed]

    @property
    def missing(self) -> int:
        """Planned runs without a record; more than none only after an interruption."""
        return len(self.plan.runs) - len(self.records)

    @property
    def page(self) -> Path:
        """The report's page."""
        return self.folder / "report.html"

    @cached_property
    def goals(self) -> list[Goal]:
        """The goals to rank by, the first of them unless told otherwise."""
        return goals(self.plan.tol)

    @cached_property
    def measures(self) -> list[str]:
        """What can be counted on the way: seconds, steps, and every oracle that some run called."""
        counted: dict[str, None] = {}
        for record in self.records:
            for name, column in record.columns.items():
                if name.startswith("calls_") and len(column) and np.max(column) > 0:
                    counted[name] = None
        order = [n for n in _first_columns(self.records) if n in counted]
        return ["seconds", "step", *order]

    def of(self, problem: str, solver: str) -> list[Record]:
        """The records of one solver on one problem, a seed each."""
        return self._by_pair.get((problem, solver), [])

    @cached_property
    def _by_pair(self) -> dict[tuple[str, str], list[Record]]:
        pairs: dict[tuple[str, str], list[Record]] = {}
        for record in self.records:
            pairs.setdefault((record.spec.problem, record.spec.solver), []).append(record)
        return pairs

    def costs(self, goal: Goal, measure: str) -> np.ndarray:
        """Median, least and greatest cost over seeds, an array of shape (3, solvers, problems)."""
        shape = (3, len(self.plan.solvers), len(self.plan.problems))
        out = np.full(shape, np.inf)
        for s, solver in enumerate(self.plan.solvers):
            for p, problem in enumerate(self.plan.problems):
                spent = [
                    cost(r, goal, measure, self.references[problem.name])
                    for r in self.of(problem.name, solver.name)
                ]
                if spent:
                    out[:, s, p] = _median(spent), min(spent), max(spent)
        return out

    def ranking(self, goal: Goal | None = None, measure: str = "seconds") -> list[Rank]:
        """Solvers, best first; by default in run time to the plan's tolerance."""
        return ranking(self.costs(goal or self.goals[0], measure)[0])

    def tried(self, solver: str) -> int:
        """How many of the problems a solver was run on."""
        return sum((p.name, solver) in self._by_pair for p in self.plan.problems)

    def sentence(self) -> str:
        """The finding in one sentence."""
        goal = self.goals[0]
        costs = self.costs(goal, "seconds")[0]
        total = len(self.plan.problems)
        if not np.isfinite(costs).any():
            return f"No solver reached a {goal.label} within the budget."
        top = self.ranking()[0]
        name = self.plan.solvers[top.solver].name
        if total == 1:
            reached = int(np.isfinite(costs[:, 0]).sum())
            return (
                f"{name} was the fastest to a {goal.label}, in {show_seconds(costs[top.solver, 0])}; "
                f"{reached} of {len(costs)} solvers got there within the budget."
            )
        best = costs.min(axis=0)
        wins = int(((costs[top.solver] == best) & np.isfinite(best)).sum())
        if wins == total:
            return f"{name} was the fastest to a {goal.label} on all {total} problems."
        fastest = f"the fastest on {wins} of them" if wins else "though never the fastest"
        return (
            f"{name} leads: it reached a {goal.label} on {top.solved} of {total} problems, {fastest}, "
            f"and took {top.slowdown:.2g} times the best solver's run time on average."
        )


def _first_columns(records: list[Record]) -> list[str]:
    return next((list(r.columns) for r in records if r.columns), [])


def _median(values: list[float]) -> float:
    """The median; infinite when the middle is."""
    ordered = sorted(values)
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return (low + high) / 2


def show_seconds(seconds: float) -> str:
    """Seconds for people.

    Example:
        >>> [show_seconds(s) for s in (0.0000214, 0.0123, 3.456, 125.0, float("inf"))]
        ['21 µs', '12 ms', '3.5 s', '125 s', '–']
    """
    if not np.isfinite(seconds):
        return "–"
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1 or unit == "µs":
            value = seconds * factor
            return f"{value:.1f} {unit}" if 1 <= value < 10 else f"{value:.0f} {unit}"
    raise AssertionError


def show_measure(name: str) -> str:
    """A trace column's name for people.

    Example:
        >>> show_measure("calls_linear_min"), show_measure("seconds")
        ('linear min calls', 'time')
    """
    if name == "seconds":
        return "time"
    if name == "step":
        return "steps"
    return f"{name.removeprefix('calls_').replace('_', ' ')} calls"
