"""Costs to reach a goal, the ranking they give, and the performance profile.

The cost of a solver on a problem is what its trace shows (seconds, steps or calls of an oracle) at the
first check that meets the goal; over seeds the median, and infinite when that seed's run did not get there.

Source:
    Dolan, Moré, "Benchmarking optimization software with performance profiles", Mathematical
    Programming 91, 2002, arXiv:cs/0102001
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from frechet.problems.training import Target
from frechet.workbench.comparing.plan import column
from frechet.workbench.comparing.record import Record

GAPS = (1e-2, 1e-4, 1e-6, 1e-8)
_MISSED = ("measure_infeasibility", "measure_lower_distance")
"""The trace's columns for the largest violation of a constraint and the distance to a lower solution."""


@dataclass(frozen=True)
class Goal:
    """When a run counts as having solved its problem.

    Attributes:
        quantity: ``"gap"``, the objective's distance to the reference optimum as a fraction of the start's;
            ``"residual"``, the Euclidean norm of the optimality map; or ``"target"``. Where a problem has no
            optimality map, its target stands for any residual.
        threshold: at or below which a gap or residual is met.
        target: the target in words, or just that there is one.
    """

    quantity: Literal["gap", "residual", "target"]
    threshold: float = 0.0
    target: str = ""

    @property
    def label(self) -> str:
        """In words."""
        if self.quantity == "target":
            return self.target
        words = f"{'relative gap' if self.quantity == 'gap' else 'residual'} ≤ {self.threshold:.0e}"
        return words.replace("e-0", "e-") + (f" or {self.target}" if self.target else "")


@dataclass(frozen=True)
class Reference:
    """The optimum that gaps are measured from.

    Attributes:
        value: the best objective known; NaN when there is none.
        source: where it comes from, in words.
        start: the objective at the start; NaN if not finite.
        rounding: what the precision can tell apart near ``value``; smaller gaps are drawn at this.
        always_feasible: whether a lower objective is a better one; else violated constraints count too.
        start_infeasibility: by how much the start violates a constraint or misses the lower solution.
        target: what counts as solved where there is no optimality map.
    """

    value: float
    source: str
    start: float
    rounding: float
    always_feasible: bool = True
    start_infeasibility: float = 0.0
    target: Target | None = None

    @property
    def scale(self) -> float:
        """The start's gap; for a start that is infeasible or optimal, the optimum's own size."""
        gap = float(self._distance(self.start, self.start_infeasibility))
        return gap if np.isfinite(gap) and gap > self.rounding else max(1.0, abs(self.value))

    def gap(self, columns: Mapping[str, Any]) -> Float[np.ndarray, " checks"]:
        r"""Relative gaps $(f(x) - f^\star) / (f(x_0) - f^\star)$, at least rounding's.

        Where constraints can be missed the distance is
        $\max\{|f(x) - f^\star|, \text{infeasibility}\}$ instead, at ``x`` and at the start: below the
        optimum lie only points that violate them. Of a bilevel problem it is how far the lower level is
        from its solution.

        Args:
            columns: a trace's, of which the objective and, if it is there, the infeasibility are read.
        """
        objective = np.asarray(columns["objective"], float)
        return np.maximum(self._distance(objective, missed(columns)), self.rounding) / self.scale

    def _distance(self, objective: Any, infeasibility: Any) -> Any:
        if self.always_feasible:
            return objective - self.value
        return np.maximum(np.abs(objective - self.value), infeasibility)


def missed(columns: Mapping[str, Any]) -> Float[np.ndarray, " checks"]:
    """By how much constraints, a lower level among them, are missed; zeros where a trace tells nothing."""
    off = next((columns[name] for name in _MISSED if name in columns), np.zeros(len(columns["objective"])))
    return np.asarray(off, float)


def goals(tol: float | None, references: Iterable[Reference] = ()) -> list[Goal]:
    """The goals a report offers, the one it opens with first.

    Args:
        tol: the residual at which runs were done.
        references: of the problems; those with a target have no residual.
    """
    targets = [r.target for r in references]
    words = {f"target {show_target(t)}" for t in targets if t}
    target = words.pop() if len(words) == 1 else "target" if words else ""
    gaps = [Goal("gap", g) for g in GAPS]
    if target and all(targets):
        return [Goal("target", target=target), *gaps[:2]]
    final = 1e-6 if tol is None else tol
    return [*(Goal("residual", t, target) for t in (final, 1e2 * final, 1e4 * final)), *gaps]


def show_target(target: Target) -> str:
    """A target in words.

    Example:
        >>> show_target(Target("test_accuracy", 0.95, at_least=True))
        'test accuracy ≥ 0.95'
    """
    name = target.measure.replace("_", " ")
    if np.isnan(target.value):  # it follows from the runs, and there are none yet
        return name
    return f"{name} {'≥' if target.at_least else '≤'} {target.value:.4g}"


def cost(record: Record, goal: Goal, measure: str, reference: Reference) -> float:
    """The measure at the first check that meets the goal; infinity if none does or the measure is absent.

    Args:
        record: a run.
        goal: what has to be met.
        measure: the name of a trace column, ``"seconds"`` say.
        reference: the problem's optimum.
    """
    columns, target = record.columns, reference.target
    wanted = "residual" if target is None else column(target.measure)
    if goal.quantity == "gap":
        wanted = "objective"
    if wanted not in columns or measure not in columns:
        return float("inf")
    with np.errstate(invalid="ignore"):
        if goal.quantity == "gap":
            reached = reference.gap(columns) <= goal.threshold
        elif target is not None:
            reached = target.met(np.asarray(columns[wanted]))
        else:
            reached = np.asarray(columns[wanted]) <= goal.threshold
    met = np.flatnonzero(reached)
    return float(columns[measure][met[0]]) if met.size else float("inf")


def ratios(costs: Float[np.ndarray, "solvers problems"]) -> Float[np.ndarray, "solvers problems"]:
    r"""Performance ratios $r_{s,p} = t_{s,p} / \min_{s'} t_{s',p}$; infinite where unsolved.

    Example:
        >>> ratios(np.array([[1.0, 4.0], [2.0, np.inf]])).tolist()
        [[1.0, 1.0], [2.0, inf]]
    """
    costs = np.asarray(costs, float)
    best = costs.min(axis=0)
    # A start that meets the goal costs nothing; whoever is there at once is as good as the best.
    tiny = np.where(best > 0, best, np.finfo(float).tiny)
    with np.errstate(invalid="ignore", over="ignore"):
        ratio = np.where(costs == best, 1.0, costs / tiny)
    return np.where(np.isfinite(costs), ratio, np.inf)


def profile(
    ratio: Float[np.ndarray, " problems"], tau: Float[np.ndarray, " points"]
) -> Float[np.ndarray, " points"]:
    r"""The performance profile $\rho(\tau)$: the fraction of problems with a ratio of at most $\tau$.

    Example:
        >>> profile(np.array([1.0, 2.0, np.inf]), np.array([1.0, 2.0, 100.0])).round(2).tolist()
        [0.33, 0.67, 0.67]
    """
    return (np.asarray(ratio)[:, None] <= np.asarray(tau)[None, :]).mean(axis=0)


@dataclass(frozen=True)
class Rank:
    """A solver's place over all problems.

    Attributes:
        solver: its index.
        solved: how many problems it solved.
        slowdown: geometric mean of its ratios to the best solver over the problems it solved; NaN if none.
    """

    solver: int
    solved: int
    slowdown: float


def ranking(costs: Float[np.ndarray, "solvers problems"], ties: Sequence[float] | None = None) -> list[Rank]:
    """Solvers by problems solved, then by how much slower than the best they typically are.

    Args:
        costs: to the goal, infinite where it was not reached.
        ties: a number a solver, the lower the better, for those that are equal in both.

    Example:
        >>> [r.solver for r in ranking(np.array([[1.0, np.inf], [2.0, 2.0], [1.0, 3.0]]))]
        [2, 1, 0]
    """
    table = []
    for solver, ratio in enumerate(ratios(costs)):
        finite = ratio[np.isfinite(ratio)]
        slowdown = float(np.exp(np.log(finite).mean())) if finite.size else float("nan")
        table.append(Rank(solver, int(finite.size), slowdown))
    last = np.zeros(len(table)) if ties is None else ties
    return sorted(
        table, key=lambda r: (-r.solved, np.nan_to_num(r.slowdown, nan=np.inf), last[r.solver], r.solver)
    )
