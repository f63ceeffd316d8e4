"""What a comparison found: everything a table, a figure or the page is made from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from frechet.workbench.comparing.plan import Plan, ProblemCard
from frechet.workbench.comparing.profile import Goal, Rank, Reference, cost, goals, ranking
from frechet.workbench.comparing.record import Record


@dataclass(frozen=True)
class Outcome:
    """How a solver trained a model, over the seeds of its final runs.

    Attributes:
        final: median, least and greatest of the watched measure, settled over the last quarter of the checks.
        settings: what its trials chose; empty for a solver that was not tuned.
        edge: whether that is the least or greatest learning rate that was tried, in words; a better one may
            lie beyond.
        tried: how many trials there were.
        diverged: how many of them diverged.
        state_bytes: size of the solver's state beside the parameters.
        state: the same as a multiple of the parameters' size.
        step_seconds: the cost of a step.
        step: the same as a multiple of the cheapest solver's on the problem.
    """

    final: tuple[float, float, float]
    settings: dict[str, Any]
    edge: str
    tried: int
    diverged: int
    state_bytes: int | None
    state: float | None
    step_seconds: float
    step: float


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
        trials: the runs by which settings were chosen, in the plan's order.
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
    trials: list[Record] = field(default_factory=list)

    @property
    def failed(self) -> list[Record]:
        """The runs that came to nothing; trials may."""
        return [r for r in self.records if r.failed]

    @property
    def missing(self) -> int:
        """Planned runs and trials without a record; more than none only after an interruption."""
        return self.plan.total - len(self.records) - len(self.trials)

    @property
    def page(self) -> Path:
        """The report's page."""
        return self.folder / "report.html"

    @cached_property
    def goals(self) -> list[Goal]:
        """The goals to rank by, the first of them unless told otherwise."""
        return goals(self.plan.tol, [self.references[p.name] for p in self.plan.problems])

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

    def trials_of(self, problem: str, solver: str) -> list[Record]:
        """The trials that one solver's settings on one problem were chosen by."""
        return self._trials_by_pair.get((problem, solver), [])

    @cached_property
    def _by_pair(self) -> dict[tuple[str, str], list[Record]]:
        return _pairs(self.records)

    @cached_property
    def _trials_by_pair(self) -> dict[tuple[str, str], list[Record]]:
        return _pairs(self.trials)

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
        """Solvers, best first; by default in run time to the plan's tolerance.

        Those that reach the goal nowhere are ordered by how good they got where that is all there is to see.
        """
        return ranking(self.costs(goal or self.goals[0], measure)[0], self._places)

    @cached_property
    def _places(self) -> list[float]:
        """Every solver's place by what it came to, summed over problems without an optimality map."""
        places = np.zeros(len(self.plan.solvers))
        for card in self.plan.problems:
            if not card.testable:
                sign = -1 if card.more_is_better else 1
                worth = [self.settled(card, s.name) for s in self.plan.solvers]
                worth = [sign * w[0] if w and np.isfinite(w[0]) else np.inf for w in worth]
                places += np.argsort(np.argsort(worth, kind="stable"), kind="stable")
        return places.tolist()

    def settled(self, card: ProblemCard, solver: str) -> tuple[float, float, float] | None:
        """Median, least and greatest over seeds of what a solver came to on a problem; None if not run.

        It is the watched measure, settled over the last quarter of the checks; a run that diverged came to
        the worst there is.
        """
        worst = -np.inf if card.more_is_better else np.inf
        values = [worst if r.diverged else r.settled(card.watched) for r in self.of(card.name, solver)]
        return (_median(values), min(values), max(values)) if values else None

    def step_seconds(self, problem: str, solver: str) -> float:
        """Seconds a step, the median over seeds; NaN if it was not run."""
        taken = [t for r in self.of(problem, solver) if np.isfinite(t := r.step_seconds)]
        return _median(taken) if taken else float("nan")

    def cheapest_step(self, problem: str) -> float:
        """Seconds a step of the solver with the cheapest; NaN if there is none."""
        taken = [self.step_seconds(problem, s.name) for s in self.plan.solvers]
        return min((t for t in taken if np.isfinite(t)), default=float("nan"))

    def outcome(self, card: ProblemCard, solver: str) -> "Outcome | None":
        """What is told of a solver that trained a model; None where it was not run or there is a residual."""
        final = self.settled(card, solver)
        if card.testable or final is None:
            return None
        records, trials = self.of(card.name, solver), self.trials_of(card.name, solver)
        alive = next((r for r in records if r.parameter_bytes), None)
        seconds = self.step_seconds(card.name, solver)
        return Outcome(
            final=final,
            settings=records[0].spec.settings,
            edge=_edge(records[0], trials),
            tried=len(trials),
            diverged=sum(t.diverged for t in trials),
            state_bytes=alive.state_bytes if alive else None,
            state=alive.state_bytes / alive.parameter_bytes if alive else None,
            step_seconds=seconds,
            step=seconds / self.cheapest_step(card.name),
        )

    def tried(self, solver: str) -> int:
        """How many of the problems a solver was run on."""
        return sum((p.name, solver) in self._by_pair for p in self.plan.problems)

    def sentence(self) -> str:
        """The finding in one sentence."""
        goal = self.goals[0]
        costs = self.costs(goal, "seconds")[0]
        total = len(self.plan.problems)
        top = self.ranking()[0]
        name = self.plan.solvers[top.solver].name
        if not np.isfinite(costs).any():
            none = f"No solver reached a {goal.label} within the budget"
            card = self.plan.problems[0]
            final = self.settled(card, name)
            if card.testable or total > 1 or final is None or not np.isfinite(final[0]):
                return f"{none}."
            return f"{none}; {name} came closest, to {show_height(card.watched)} {final[0]:.4g}."
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


def _edge(record: Record, trials: list[Record]) -> str:
    rates = {r for t in trials if isinstance(r := t.spec.settings.get("learning_rate"), float | int)}
    if len(rates) < 3:
        return ""
    chosen = record.spec.settings.get("learning_rate")
    if chosen == min(rates):
        return "least rate tried"
    return "greatest rate tried" if chosen == max(rates) else ""


def _pairs(records: list[Record]) -> dict[tuple[str, str], list[Record]]:
    pairs: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        pairs.setdefault((record.spec.problem, record.spec.solver), []).append(record)
    return pairs


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


def show_height(name: str) -> str:
    """The name for people of a trace column that says how good a point is.

    Example:
        >>> show_height("measure_held_out_loss"), show_height("residual")
        ('held out loss', 'residual')
    """
    return name.removeprefix("measure_").replace("_", " ")


def show_settings(settings: Mapping[str, Any]) -> str:
    """Hyperparameters for people.

    Example:
        >>> show_settings({"learning_rate": 0.00132215, "b1": 0.9})
        'learning_rate=0.00132, b1=0.9'
    """
    return ", ".join(f"{k}={v:.3g}" if isinstance(v, float) else f"{k}={v}" for k, v in settings.items())
