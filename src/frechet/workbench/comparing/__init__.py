"""Comparisons: problems x solvers x seeds, run side by side, stored a file a run, reported on one page.

`compare` is the entry; `report` draws the page of a folder again.
"""

from frechet.workbench.comparing.comparison import Comparison, compare, report

__all__ = ["Comparison", "compare", "report"]
