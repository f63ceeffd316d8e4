"""The results as Markdown tables, for papers and issues."""

import math

from frechet.workbench.comparing.profile import show_target
from frechet.workbench.comparing.report.payload import conditions, end, fairness
from frechet.workbench.comparing.result import Comparison, show_measure, show_seconds
from frechet.workbench.comparing.training_table import training_table


def markdown(comparison: Comparison) -> str:
    """A ranking over all problems, then a table a problem, then the conditions."""
    goal = comparison.goals[0]
    parts = ["# Comparison", "", comparison.sentence(), ""]
    parts += "  \n".join(f"**{k}** {v}" for k, v in conditions(comparison)).splitlines()
    parts += ["", f"## Ranking by time to a {goal.label}", "", *_overall(comparison), ""]
    for index, card in enumerate(comparison.plan.problems):
        parts += (_problem if card.testable else _training)(comparison, index)
    if comparison.plan.skipped:
        parts += ["## Not run", ""]
        parts += _table(
            ["problem", "solver", "reason"],
            [[s.problem, s.solver, s.reason] for s in comparison.plan.skipped],
        )
        parts += [""]
    parts += ["## How it was measured", "", *(f"- {rule}" for rule in fairness(comparison)), ""]
    parts += ["## Made with", "", f"    {comparison.command}", ""]
    parts += [f"- {k}: {v}" for k, v in comparison.environment.items()]
    return "\n".join(parts) + "\n"


def _overall(comparison: Comparison) -> list[str]:
    return _table(
        ["", "solver", "solved", "slowdown against the best"],
        [
            [
                str(place),
                (name := comparison.plan.solvers[rank.solver].name),
                f"{rank.solved}/{comparison.tried(name)}",
                f"{rank.slowdown:.2f}" if rank.solved else "–",
            ]
            for place, rank in enumerate(comparison.ranking(), 1)
        ],
    )


def _problem(comparison: Comparison, index: int) -> list[str]:
    card = comparison.plan.problems[index]
    reference = comparison.references[card.name]
    goal = comparison.goals[0]
    costs = {m: comparison.costs(goal, m)[0, :, index] for m in comparison.measures}
    rows = []
    order = sorted(range(len(comparison.plan.solvers)), key=lambda s: (costs["seconds"][s], s))
    for s in order:
        solver = comparison.plan.solvers[s]
        ended = end(comparison, card.name, solver.name)
        if ended is None:
            continue
        spent = [f"{costs[m][s]:.0f}" if costs[m][s] < float("inf") else "–" for m in comparison.measures[1:]]
        rows.append(
            [
                solver.name,
                show_seconds(costs["seconds"][s]),
                *spent,
                _short(ended["gap"]),
                _short(ended["residual"]),
                show_seconds(_or_inf(ended["compile"])),
                ended["status"],
            ]
        )
    counts = [show_measure(m) for m in comparison.measures[1:]]
    head = ["solver", "time", *counts, "final gap", "final residual", "compile", "status"]
    return [
        f"## {card.name}",
        "",
        f"{card.title}. {card.source}".strip(),
        f"Time, steps and calls are to a {goal.label}, the median over seeds. Reference optimum "
        f"{reference.value:.10g}: {reference.source}."
        + ("" if card.always_feasible else " The gap counts violated constraints too."),
        "",
        *_table(head, rows),
        "",
    ]


def _training(comparison: Comparison, index: int) -> list[str]:
    card = comparison.plan.problems[index]
    reference = comparison.references[card.name]
    assert reference.target is not None
    heads, rows = training_table(comparison, index)
    least = ""
    if math.isfinite(reference.value):
        least = f" The least {card.objective_name} found is {reference.value:.4g} ({reference.source})."
    return [
        f"## {card.name}",
        "",
        f"{card.title}. {card.source}".strip(),
        f"Time and steps are to the target, {show_target(reference.target)}, the median over seeds. The "
        "final measure is a mean over the last quarter of the checks, with its least and greatest over "
        "seeds. The state is a multiple of the parameters' memory, a step's cost one of the cheapest "
        f"solver's; diverged are trials.{least}",
        "",
        *_table(heads, rows),
        "",
    ]


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.1e}"


def _or_inf(value: float | None) -> float:
    return float("inf") if value is None else value


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"

    return [line(head), line(["---"] * len(head)), *(line(r) for r in rows)]
