"""The report: one offline page, a figure and a table for papers, all from the same comparison."""

from frechet.workbench.comparing.report.write import write

__all__ = ["write"]
