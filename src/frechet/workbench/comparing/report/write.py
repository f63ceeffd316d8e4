"""Writes the page, the figure and the table into the comparison's folder."""

from frechet.workbench.comparing.report.figure import figure
from frechet.workbench.comparing.report.markdown import markdown
from frechet.workbench.comparing.report.page import page
from frechet.workbench.comparing.result import Comparison
from frechet.workbench.comparing.store import Store


def write(comparison: Comparison, store: Store) -> None:
    """``report.html``, ``report.md`` and ``report.png``, each written whole or not at all."""
    store.write("report.html", page(comparison).encode())
    store.write("report.md", markdown(comparison).encode())
    store.write("report.png", figure(comparison))
