"""What the report says about a problem and a solver, asked of themselves."""

import inspect
import re
from dataclasses import fields
from typing import Any

import jax
import numpy as np

from frechet.core.space import Choice, LogUniform, Uniform
from frechet.problems.training import Target, Training
from frechet.workbench.comparing import fingerprint
from frechet.workbench.comparing.loading import described, last_line
from frechet.workbench.comparing.plan import ProblemCard, SolverCard, column
from frechet.workbench.errors import UserError


def problem_card(loaded: Any) -> tuple[ProblemCard, float | None]:
    """The problem's card and its objective at the start, where it has to be possible to evaluate it."""
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


def settings_of(solver: Any) -> dict[str, Any]:
    """The solver's hyperparameters by name: what its transformation is made with, else its fields."""
    factory = described(solver)
    if factory is type(solver):
        return {f.name: getattr(solver, f.name) for f in fields(solver)}
    parameters = inspect.signature(factory).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty} | solver.tx.settings


def solver_card(name: str, solver: Any) -> SolverCard:
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
