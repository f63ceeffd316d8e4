"""What `frechet show` says of a system, a problem and a solver, and `frechet verify` of a claim."""

import inspect
from collections.abc import Sequence
from typing import Any

import jax
from rich.table import Table
from rich.text import Text

from frechet.problems.training import Training
from frechet.workbench import suite, terminal
from frechet.workbench.claims import Verdict, claims
from frechet.workbench.claims.evidence import show
from frechet.workbench.comparing.cards import range_in_words, settings_of
from frechet.workbench.comparing.loading import described, load_optimizers, load_solvers


def first_line(solver: Any) -> str:
    """What a solver is, in a line."""
    return (inspect.getdoc(described(solver)) or "No description.").splitlines()[0]


def show_system(name: str, system: Any) -> None:
    """Prints the card of a system."""
    facts = {
        "paper": f"{system.citation}\n{system.address}",
        "what it does": system.summary,
        "assumes": system.assumptions,
        "code": system.implements,
        "claims": [c.statement for c in claims(name)],
        "to cite": system.cite(),
    }
    terminal.print_card(f"{name}: {system.name}", facts)


def show_problem(name: str, entry: Any) -> None:
    """Prints the card of a problem of the suite."""
    with jax.enable_x64(True):
        case = suite.load(name)
        cast = load_optimizers() if isinstance(case.problem, Training) else load_solvers(None)
        fitting = [n for n, (_, solver) in cast.items() if solver.fits(case.problem) is None]
    facts = {
        "what it is": inspect.getdoc(entry.make),
        "data": case.source,
        "kind": case.problem.kind,
        "variables": str(sum(leaf.size for leaf in jax.tree.leaves(case.x0))),
        "offers": ", ".join(case.problem.offers()),
        "optimum": "" if case.optimum is None else f"{float(case.optimum):.12g}",
        "solvers": ", ".join(fitting),
        "to run": f"frechet compare {name}",
    }
    terminal.print_card(f"{name}: {case.title}", facts)


def show_solver(name: str, solver: Any) -> None:
    """Prints the card of a solver or an optimizer."""
    made_by = described(solver)
    space = getattr(solver, "space", {})
    facts = {
        "what it is": inspect.cleandoc(made_by.__doc__ or ""),
        "takes": f"{solver.accepts.__name__} that offers {', '.join(sorted(solver.needs)) or 'anything'}",
        "settings": [f"{name} = {value}" for name, value in settings_of(solver).items()],
        "searched": [f"{name}: {range_in_words(values)}" for name, values in space.items()],
        "code": f"{made_by.__module__}.{made_by.__qualname__}",
    }
    terminal.print_card(f"{name} (solver)", facts)


def claim_text(verdict: Verdict) -> Text:
    """What is claimed, with the note of its evidence."""
    text = Text(verdict.claim.statement)
    if verdict.evidence and verdict.evidence.note:
        text.append(f"\n{verdict.evidence.note}", "dim")
    return text


def evidence_table(title: str, rows: Sequence[Any]) -> Table:
    """The rows that a claim is judged by."""
    made = terminal.table(*rows[0], title=title)
    for row in rows:
        made.add_row(*terminal.plain(*(show(row.get(column, "")) for column in rows[0])))
    return made
