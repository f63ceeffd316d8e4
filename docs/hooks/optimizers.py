"""The tables of the optimizers' page: what each is for, from the code; what was measured."""

import inspect
import json
from pathlib import Path
from typing import Any

from frechet.optimizers.registry import optimizers
from frechet.workbench import catalogue

_RESULTS = Path(__file__).parents[1] / "results" / "optimizers.json"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Puts the tables where the page asks for them."""
    for mark, table in (("what", _what), ("measured", _measured)):
        comment = f"<!-- optimizers: {mark} -->"
        if comment in markdown:
            markdown = markdown.replace(comment, "\n".join(table()))
    return markdown


def _what() -> list[str]:
    """A row an optimizer: its name, what it does, its paper."""
    lines = _rows(["optimizer", "what it does", "system"], ["---"] * 3)
    for name, entry in optimizers().items():
        home = entry.factory.__module__
        # what implements a system is named by its module or by a function of it
        system = next(
            (
                s
                for s in catalogue.systems().values()
                if any(i == home or i.rpartition(".")[0] == home for i in s.implements)
                or f"frechet.optimizers.{entry.factory.__name__}" in s.implements
            ),
            None,
        )
        first = (inspect.getdoc(entry.factory) or "").splitlines()[0].partition(": $")[0]
        link = f"[{system.id}](catalogue/{system.id}.md), {system.year}" if system else ""
        lines += _rows([f"`{name}`", first, link])
    return lines


def _measured() -> list[str]:
    """A row an optimizer: memory, cost of a step, and on each problem the steps to the target."""
    results = json.loads(_RESULTS.read_text(encoding="utf-8"))
    titles = [p["title"] for p in results["problems"]]
    lines = [
        f"Tuned with {results['trials']} trials each, then run with {results['seeds']} other seeds "
        f"(`{results['command']}`). Memory is that of the state, in sizes of the parameters; the cost of a "
        "step is in steps of stochastic gradient descent. Then the steps to the target: the median over "
        "seeds, with the least and the greatest; – where the budget did not suffice.",
        "",
        *_rows(["optimizer", "memory", "cost", *titles], ["---"] * (3 + len(titles))),
    ]
    for row in results["optimizers"]:
        steps = [_steps(row["steps"].get(p["name"])) for p in results["problems"]]
        lines += _rows([f"`{row['name']}`", f"{row['memory']:.1f}", f"{row['cost']:.2f}", *steps])
    return lines


def _rows(*rows: list[str]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in rows]


def _steps(found: list[float | None] | None) -> str:
    if found is None:
        return ""
    middle, least, most = ("–" if v is None else f"{v:.0f}" for v in found)
    return middle if middle == least == most else f"{middle} ({least} to {most})"
