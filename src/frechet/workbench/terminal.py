"""Tables and cards in a terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


def console() -> Console:
    """Where output goes."""
    made = Console(highlight=False)
    # A pipe or a file has no width to keep to.
    return made if made.is_terminal else Console(highlight=False, width=200)


def table(*columns: str, title: str) -> Table:
    """A table without lines, to be filled."""
    made = Table(box=None, pad_edge=False, title=Text(title, "bold"), title_justify="left")
    for column in columns:
        made.add_column(column, justify="right" if column == "time" else "left", header_style="dim")
    return made


def plain(*cells: str) -> list[Text]:
    """Cells that are not read as markup."""
    return [Text(cell) for cell in cells]


def mark(good: bool) -> str:
    """A tick or a cross."""
    return "[green]✓[/]" if good else "[red]✗[/]"


def print_card(title: str, facts: dict[str, Any]) -> None:
    """Prints a title and a label a line; empty facts are left out."""
    grid = Table.grid(padding=(0, 2))
    for label, fact in facts.items():
        if fact:
            grid.add_row(Text(label, "dim"), Text(fact if isinstance(fact, str) else "\n".join(fact)))
    out = console()
    out.print(Text(title, "bold"))
    out.print(grid)
