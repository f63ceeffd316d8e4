"""What a comparison is, before anything runs: problems x solvers x seeds, each run named by what it is."""

import re
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any

from frechet.core.space import Choice, LogUniform, Uniform
from frechet.problems.training import Target, Training
from frechet.workbench.comparing import fingerprint, tuning
from frechet.workbench.comparing.loading import (
    Loaded,
    absolute,
    described,
    load_optimizers,
    load_problem,
    load_solvers,
)
from frechet.workbench.errors import UserError, nearest

PRECISIONS = ("float32", "float64")
_SECONDS = {
    "ms": 1e-3,
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "min": 60.0,
    "minute": 60.0,
    "m": 60.0,
    "h": 3600.0,
}


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


def parse_budget(budget: Any) -> dict[str, float]:
    """What a run may spend, as plain data.

    Args:
        budget: seconds as a number; or a string such as ``"10s"``, ``"2min"``, ``"500 steps"``,
            ``"1000 gradient"``, or several with commas, of which the first to be spent ends the run.

    Raises:
        UserError: it cannot be read as one.

    Example:
        >>> parse_budget("2min, 500 steps")
        {'seconds': 120.0, 'steps': 500}
    """
    from frechet.core.calls import ORACLES

    if isinstance(budget, int | float) and not isinstance(budget, bool):
        budget = f"{budget!r}s"
    oracles = list(ORACLES)
    parsed: dict[str, float] = {}
    for part in str(budget).split(","):
        match = re.fullmatch(r"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*([a-zA-Z_ ]+?)\s*", part)
        if not match:
            raise UserError(
                f"budget {part.strip()!r}: write a number and a unit, as in 10s, 500steps or 1000gradient"
            )
        unit = match[2].lower().replace(" ", "_")
        singular = unit if unit in _SECONDS or unit in oracles else unit.removesuffix("s")
        number = _number(match[1], part)
        if singular in _SECONDS:
            parsed["seconds"] = number * _SECONDS[singular]
        elif singular == "step" or singular in oracles:
            parsed["steps" if singular == "step" else singular] = _count(number, part)
        else:
            known = ["s", "min", "h", "steps", *oracles]
            raise UserError(
                f"budget {part.strip()!r}: unknown unit {match[2]!r}; {nearest(unit, known, shown=20)}"
            )
    return parsed


def _number(text: str, part: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise UserError(f"budget {part.strip()!r}: {text} is not a positive number")
    return number


def _count(number: float, part: str) -> int:
    if number != int(number):
        raise UserError(f"budget {part.strip()!r}: steps and oracle calls are whole numbers")
    return int(number)


def show_budget(budget: dict[str, float]) -> str:
    """The budget as the command line takes it.

    Example:
        >>> show_budget({"seconds": 10.0, "steps": 500})
        '10s,500steps'
    """
    return ",".join(f"{v:g}s" if k == "seconds" else f"{v}{k}" for k, v in budget.items())


def make_plan(
    problems: list[str],
    solvers: list[str] | None,
    *,
    budget: Any,
    seeds: int,
    tol: float | None,
    precision: str | None,
    trials: int | None = None,
) -> Plan:
    """Loads every problem once, asks every solver whether it fits, and names every run.

    Raises:
        UserError: a name, file, number or precision is not what it should be, or nothing fits.
    """
    import jax

    import frechet

    spent = parse_budget(budget)
    _check_conditions(problems, solvers, seeds, tol, precision, trials)
    references = list(dict.fromkeys(absolute(p) for p in problems))
    loaded, precision = _load(references, precision)
    cards, skipped, used = [], [], {}
    runs: list[RunSpec] = []
    tried: list[RunSpec] = []
    with jax.enable_x64(precision == "float64"):
        asked = None if solvers is None else load_solvers(solvers)
        keys: dict[str, str] = {}
        for reference, one in zip(references, loaded, strict=True):
            card, start = _examine(one)
            if card.name in {c.name for c in cards}:
                raise UserError(
                    f"two problems are called {card.name}; give the files or functions different names"
                )
            cards.append(card)
            cast = asked or (load_optimizers() if card.trained else load_solvers(None))
            count = (tuning.TRIALS if card.trained else 0) if trials is None else trials
            for name, (found_by, solver) in cast.items():
                reason = solver.fits(one.problem)
                space = getattr(solver, "space", {})
                if reason is None and count and space:
                    reason = tuning.unsuited(space)
                if reason is not None:
                    skipped.append(Skipped(card.name, name, reason))
                    continue
                used[name] = solver
                if name not in keys:
                    keys[name] = fingerprint.of_solver(solver)
                run = RunSpec(
                    problem=card.name,
                    problem_key=card.key,
                    solver=name,
                    solver_key=keys[name],
                    seed=0,
                    budget=spent,
                    tol=tol,
                    precision=precision,
                    version=frechet.__version__,
                    problem_reference=reference,
                    solver_reference=found_by,
                    start_objective=start,
                )
                runs += [replace(run, seed=seed) for seed in range(seeds)]
                if count and space:
                    drawn = tuning.configurations(space, settings_of(solver), count)
                    tried += [
                        replace(run, seed=tuning.SEED, settings=settings, trial=trial)
                        for trial, settings in enumerate(drawn)
                    ]
    if not runs:
        raise UserError(
            f"no solver fits: {skipped[0].solver} {skipped[0].reason}" if skipped else "no solver fits"
        )
    return Plan(
        problems=cards,
        solvers=[_solver_card(name, solver) for name, solver in sorted(used.items())],
        skipped=skipped,
        runs=runs,
        seeds=seeds,
        budget=spent,
        tol=tol,
        precision=precision,
        version=frechet.__version__,
        asked_problems=list(problems),
        asked_solvers=solvers,
        trials=tried,
        asked_trials=trials,
    )


def _check_conditions(
    problems: list[str],
    solvers: list[str] | None,
    seeds: Any,
    tol: float | None,
    precision: str | None,
    trials: Any,
) -> None:
    if isinstance(seeds, bool) or not isinstance(seeds, int) or not 1 <= seeds <= tuning.SEED:
        raise UserError(f"seeds is {seeds!r}; it should be at least 1 and at most {tuning.SEED}")
    if trials is not None and (isinstance(trials, bool) or not isinstance(trials, int) or trials < 0):
        raise UserError(f"trials is {trials!r}; it should be a whole number, 0 for none")
    if tol is not None and not 0 < tol < float("inf"):
        raise UserError(f"tol is {tol!r}; it should be a positive number such as 1e-6")
    if precision is not None and precision not in PRECISIONS:
        raise UserError(f"precision is {precision!r}; it should be float32 or float64")
    if not problems:
        raise UserError("no problem given; name one of `frechet list` or file.py:function")
    if solvers is not None and not solvers:
        raise UserError(
            "no solver given; name some of `frechet list`, or leave solvers out to run all that fit"
        )


def _load(references: list[str], precision: str | None) -> tuple[list[Loaded], str]:
    """The problems in the precision asked for, or in the one that suits them."""
    import jax

    for chosen in ("float64", "float32") if precision is None else (precision,):
        with jax.enable_x64(chosen == "float64"):
            loaded = [load_problem(reference) for reference in references]
        if precision is not None or any(not isinstance(one.problem, Training) for one in loaded):
            break  # models are trained in float32, all else is solved in float64
    return loaded, chosen


def _examine(loaded: Any) -> tuple[ProblemCard, float | None]:
    """The problem's card and its objective at the start, where it has to be possible to evaluate it."""
    import jax
    import numpy as np

    from frechet.workbench.comparing.loading import last_line

    problem = loaded.problem
    try:
        key = fingerprint.of_problem(problem, loaded.x0)
        at = problem.start(loaded.x0)
        start = np.asarray(problem.objective(at))
        measures = list(jax.eval_shape(problem.measures, at))
    except Exception as error:
        raise UserError(
            f"{loaded.name}: the problem cannot be evaluated at x0: {last_line(error)}"
        ) from error
    if start.shape != ():
        raise UserError(f"{loaded.name}: the objective has shape {start.shape} at x0; it should be a scalar")
    target = getattr(problem, "target", None)
    if target is not None and target.measure not in ["objective", *measures]:
        known = ", ".join(["objective", *measures])
        raise UserError(f"{loaded.name}: the target is on {target.measure!r}, which is none of {known}")
    leaves = jax.tree.leaves(loaded.x0)
    card = ProblemCard(
        name=loaded.name,
        title=loaded.title,
        source=loaded.source,
        kind=problem.kind,
        key=fingerprint.digest(key, loaded.file_digest),
        variables=sum(int(leaf.size) for leaf in leaves),
        dtype=", ".join(sorted({str(leaf.dtype) for leaf in leaves})),
        offers=dict(problem.offers()),
        optimum=None if loaded.optimum is None else float(loaded.optimum),
        always_feasible=bool(problem.always_feasible),
        testable=problem.testable,
        watched="residual" if problem.testable else _watched(target, measures),
        target=target,
        trained=isinstance(problem, Training),
        objective_name=problem.objective_name,
    )
    return card, float(start) if np.isfinite(start) else None


def _watched(target: Target | None, measures: list[str]) -> str:
    """The column by which a point of a problem without an optimality map is judged."""
    measure = target.measure if target else ("held_out_loss" if "held_out_loss" in measures else "objective")
    return column(measure)


def column(measure: str) -> str:
    """Where a trace has a measure, or the objective."""
    return measure if measure == "objective" else f"measure_{measure}"


def settings_of(solver: Any) -> dict[str, Any]:
    """The solver's hyperparameters by name: what its transformation is made with, else its fields."""
    import inspect

    factory = described(solver)
    if factory is type(solver):
        return {f.name: getattr(solver, f.name) for f in fields(solver)}
    parameters = inspect.signature(factory).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty} | solver.tx.settings


def _solver_card(name: str, solver: Any) -> SolverCard:
    import inspect

    made_by = described(solver)
    doc = inspect.getdoc(made_by) or ""
    if doc.startswith(f"{made_by.__name__}("):  # what dataclasses write where nobody else did
        doc = ""
    return SolverCard(
        name=name,
        kind=made_by.__name__,
        summary=_plain_maths(" ".join(doc.split("\n\n")[0].split())),
        source=_section(doc, "Source"),
        accepts=solver.accepts.__name__,
        needs=sorted(solver.needs),
        settings={k: _shown(v) for k, v in settings_of(solver).items()},
        stochastic=bool(solver.stochastic),
        space={k: range_in_words(v) for k, v in getattr(solver, "space", {}).items()},
    )


def range_in_words(values: Any) -> str:
    """A range of hyperparameters for people.

    Example:
        >>> from frechet.core.space import Choice, LogUniform
        >>> range_in_words(LogUniform(1e-4, 1e-1)), range_in_words(Choice(0.9, 0.99))
        ('0.0001 to 0.1, log-uniform', 'one of 0.9, 0.99')
    """
    if isinstance(values, Uniform):
        kind = ", log-uniform" if isinstance(values, LogUniform) else ", uniform"
        return f"{values.low:g} to {values.high:g}{kind}"
    if isinstance(values, Choice):
        return f"one of {', '.join(map(_shown, values.values))}"
    return _shown(values)


_SYMBOLS = {
    r"\\frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}": r"\1/\2",
    r"\\frac\s*(\w)\s*(\w)": r"\1/\2 ",
    r"\\(?:mathrm|mathbf|mathcal|operatorname|text)\{([^{}]*)\}": r"\1",
    r"\\sum": "Σ",
    r"\\nabla": "∇",
    r"\\leq?(?![a-z])": "≤",
    r"\\geq?(?![a-z])": "≥",
    r"\\\|": "‖",
    r"\\([a-zA-Z]+)": r"\1",
    r"[{}$]": "",
}


def _plain_maths(text: str) -> str:
    """A docstring's LaTeX as text; a card has no room for more.

    Example:
        >>> _plain_maths(r"Minimises $\\frac1n\\sum_i f_i(x) + g(x)$.")
        'Minimises 1/n Σ_i f_i(x) + g(x).'
    """

    def plain(match: re.Match[str]) -> str:
        maths = match[0]
        for pattern, symbol in _SYMBOLS.items():
            maths = re.sub(pattern, symbol, maths)
        return maths

    return re.sub(r"\$[^$]*\$", plain, text)


def _section(doc: str, title: str) -> str:
    """The text of one section of a Google style docstring, on one line."""
    lines = doc.splitlines()
    text: list[str] = []
    inside = False
    for line in lines:
        if re.match(rf"{title}s?:", line):
            inside = True
            text.append(line.partition(":")[2])
        elif inside and line and not line.startswith(" "):
            break
        elif inside:
            text.append(line)
    return " ".join(" ".join(text).split())


def _shown(value: Any) -> str:
    text = re.sub(
        r"<([\w.]*function )?([\w.]*?\.)?(\w+)(\.<locals>[\w.<>]*)?( at 0x\w+)?>", r"\3", repr(value)
    )
    return text if len(text) <= 160 else text[:157] + "..."
