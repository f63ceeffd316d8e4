"""The table of the optimizers' page: what each is for, from the code; what it costs, from the results."""

import inspect
import json
from pathlib import Path
from typing import Any

from frechet.optimizers.registry import Optimizer, optimizers
from frechet.workbench import catalogue
from frechet.workbench.comparing.baselines import baselines

_RESULTS = Path(__file__).parents[1] / "results" / "optimizers.json"
_MARK = "<!-- optimizers -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Puts the table where the page asks for it."""
    return markdown.replace(_MARK, "\n".join(_table())) if _MARK in markdown else markdown


def _table() -> list[str]:
    """A row an optimizer, the library's own first."""
    results = json.loads(_RESULTS.read_text(encoding="utf-8"))
    problems = [p["name"] for p in results["problems"]]
    found = {row["name"]: row for row in results["optimizers"]}
    lines = [
        f"Tuned with {results['trials']} trials each, then run with {results['seeds']} other seeds "
        f"(`{results['command']}`). Memory is that of the state, in sizes of the parameters; the cost of a "
        "step is in steps of stochastic gradient descent, median over the problems. Then the steps to the "
        "target: the median over seeds, with the least and the greatest; – where the budget did not suffice.",
        "",
        *_rows(["optimizer", "what it does", "memory", "cost", *problems], ["---"] * (4 + len(problems))),
    ]
    for name, entry in {**optimizers(), **baselines()}.items():
        row = found.get(name)
        cost = [f"{row['memory']:.1f}", f"{row['cost']:.1f}"] if row else ["", ""]
        steps = [_steps(row["steps"].get(p)) if row else "" for p in problems]
        first = (inspect.getdoc(entry.factory) or "").splitlines()[0].partition(": $")[0].rstrip(".")
        lines += _rows([_linked(name, entry), first, *cost, *steps])
    return lines


def _linked(name: str, entry: Optimizer) -> str:
    """The optimizer's name, with its system's page behind it."""
    home = entry.factory.__module__
    for system in catalogue.systems().values():
        # what implements a system is named by its module or by a function of it
        if any(home in (i, i.rpartition(".")[0]) for i in system.implements) or (
            f"frechet.optimizers.{entry.factory.__name__}" in system.implements
        ):
            return f"[`{name}`](catalogue/{system.id}.md)"
    return f"Optax's `{name}`"


def _rows(*rows: list[str]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in rows]


def _steps(found: list[float | None] | None) -> str:
    if found is None:
        return ""
    middle, least, most = ("–" if v is None else f"{v:.0f}" for v in found)
    return middle if middle == least == most else f"{middle}<br><small>{least} to {most}</small>"
