"""What a comparison is, before anything runs: problems x solvers x seeds, each run named by what it is."""

from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any

from frechet.problems.training import Target
from frechet.workbench.comparing import fingerprint


@dataclass(frozen=True)
class RunSpec:
    """One run, frozen: one problem, one solver, one seed, under the comparison's conditions.

    Attributes:
        problem: the problem's name.
        problem_key: fingerprint of its content (and of the user's file, if it comes from one).
        solver: the solver's name.
        solver_key: fingerprint of its class, source file and settings.
        seed: seed of the run's key.
        budget: ``{"seconds": 10.0}``, ``{"steps": 500}``, or a count of any oracle; any of them ends the run.
        tol: the residual at which it is done; None for the square root of the precision's epsilon.
        precision: ``"float32"`` or ``"float64"``.
        version: Frechet's version.
        settings: the solver's hyperparameters where they are not its own.
        trial: which trial of the tuning it is; None for a final run.
        problem_reference: how a worker finds the problem; not part of what is run.
        solver_reference: how a worker finds the solver; not part of what is run.
        start_objective: the objective at the start as planned; a worker that sees another one says so.
    """

    problem: str
    problem_key: str
    solver: str
    solver_key: str
    seed: int
    budget: dict[str, float]
    tol: float | None
    precision: str
    version: str
    settings: dict[str, Any] = field(default_factory=dict)
    trial: int | None = None
    problem_reference: str = field(default="", compare=False)
    solver_reference: str = field(default="", compare=False)
    start_objective: float | None = field(default=None, compare=False)

    @cached_property
    def hash(self) -> str:
        """Names the run; equal exactly when the same thing is run."""
        return fingerprint.digest({f.name: getattr(self, f.name) for f in fields(self) if f.compare})

    @property
    def words(self) -> str:
        """The seed, or for a trial its number."""
        return f"seed {self.seed}" if self.trial is None else f"trial {self.trial}"

    def __hash__(self) -> int:
        return hash(self.hash)


@dataclass(frozen=True)
class ProblemCard:
    """What the report says about a problem."""

    name: str
    title: str
    source: str
    kind: str
    key: str
    variables: int
    dtype: str
    offers: dict[str, str]
    optimum: float | None
    always_feasible: bool = True
    """Whether a lower objective is a better one; else what constraints are missed by counts too."""
    testable: bool = True
    """Whether it has an optimality map; else runs are judged by ``watched``."""
    watched: str = "residual"
    """The trace's column that says how good a point is."""
    target: Target | None = None
    """What counts as solved where there is no optimality map."""
    trained: bool = False
    """Whether it is a model that optimizers train, with settings tuned by trials."""
    objective_name: str = "objective"
    """What its objective is called."""

    @property
    def more_is_better(self) -> bool:
        """Whether ``watched`` should be large."""
        return self.target is not None and self.target.at_least


@dataclass(frozen=True)
class SolverCard:
    """What the report says about a solver."""

    name: str
    kind: str
    summary: str
    source: str
    accepts: str
    needs: list[str]
    settings: dict[str, str]
    stochastic: bool
    space: dict[str, str] = field(default_factory=dict)
    """The hyperparameters that trials search, with their ranges in words."""


@dataclass(frozen=True)
class Skipped:
    """A solver that cannot take a problem, and why."""

    problem: str
    solver: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """A whole comparison: the conditions, the cast and every run.

    Attributes:
        runs: the final runs; those of a tuned solver take their settings from its trials.
        trials: the runs that settings are chosen by.
        asked_solvers: the solvers asked for by name, or None for every one that fits.
        asked_trials: trials of every solver with a search space, or None for what the problem needs.
    """

    problems: list[ProblemCard]
    solvers: list[SolverCard]
    skipped: list[Skipped]
    runs: list[RunSpec]
    seeds: int
    budget: dict[str, float]
    tol: float | None
    precision: str
    version: str
    asked_problems: list[str]
    asked_solvers: list[str] | None
    trials: list[RunSpec] = field(default_factory=list)
    asked_trials: int | None = None

    @property
    def total(self) -> int:
        """How many runs there are to make, trials among them."""
        return len(self.trials) + len(self.runs)

    @property
    def identity(self) -> dict[str, Any]:
        """What must be equal for two plans to share a folder; solvers, seeds, trials may be added to one."""
        return {
            "problems": sorted(p.name for p in self.problems),
            "budget": self.budget,
            "tol": self.tol,
            "precision": self.precision,
        }

    def asdict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def fromdict(cls, data: dict[str, Any]) -> "Plan":
        """The plan that `asdict` wrote."""
        return cls(
            **{
                **data,
                "problems": [
                    ProblemCard(**{**p, "target": p["target"] and Target(**p["target"])})
                    for p in data["problems"]
                ],
                "solvers": [SolverCard(**s) for s in data["solvers"]],
                "skipped": [Skipped(**s) for s in data["skipped"]],
                "runs": [RunSpec(**r) for r in data["runs"]],
                "trials": [RunSpec(**r) for r in data["trials"]],
            }
        )


def column(measure: str) -> str:
    """Where a trace has a measure, or the objective."""
    return measure if measure == "objective" else f"measure_{measure}"
