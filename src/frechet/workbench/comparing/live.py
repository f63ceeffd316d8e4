"""What a person sees while a comparison runs: a live table on a terminal, a line a run elsewhere."""

import time
from types import TracebackType

from frechet.workbench.comparing.plan import Plan
from frechet.workbench.comparing.record import Record
from frechet.workbench.comparing.result import show_seconds


class Progress:
    """Shows how far a comparison is.

    Args:
        plan: what is to be run.
        shown: whether to show anything.
    """

    def __init__(self, plan: Plan, *, shown: bool):
        from rich.console import Console

        self._plan = plan
        self._console = Console(stderr=True, quiet=not shown)
        self._records: dict[tuple[str, str], list[Record]] = {}
        self._done = 0
        self._live = None
        self._status = ""
        self._started = time.monotonic()
        self._fresh = 0

    def __enter__(self) -> "Progress":
        from rich.live import Live

        if self._console.is_terminal and not self._console.quiet:
            self._live = Live(console=self._console, get_renderable=self._render, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def begin(self, records: list[Record], messages: list[str]) -> None:
        """What was found finished."""
        for message in messages:
            self._console.print(message, style="yellow", highlight=False)
        for record in records:
            self._keep(record)
        if records:
            self._say(f"{len(records)} of {len(self._plan.runs)} runs are there already")

    def add(self, record: Record) -> None:
        """A run that has just finished."""
        self._keep(record)
        self._fresh += 1
        spec = record.spec
        ended = (
            record.reason
            if record.failed
            else f"residual {record.residual:.1e}, {show_seconds(_ran(record))}"
        )
        self._say(
            f"[{self._done}/{len(self._plan.runs)}] {spec.problem}  {spec.solver}  seed {spec.seed}: "
            f"{record.status}, {ended}"
        )

    def polished(self, record: Record) -> None:
        """A reference optimum is done."""
        ended = record.reason if record.failed else f"residual {record.residual:.1e}"
        self._status = f"polished the reference optimum of {record.spec.problem}: {ended}"
        self._say(self._status)

    def _keep(self, record: Record) -> None:
        self._done += 1
        self._records.setdefault((record.spec.problem, record.spec.solver), []).append(record)

    def _say(self, line: str) -> None:
        if self._live is None:
            self._console.print(line, highlight=False, soft_wrap=True, markup=False)

    def _render(self):
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        total = len(self._plan.runs)
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("solver")
        for problem in self._plan.problems:
            table.add_column(problem.name, justify="right")
        for solver in self._plan.solvers:
            table.add_row(solver.name, *(self._cell(p.name, solver.name) for p in self._plan.problems))
        line = Text(f"{self._done}/{total} runs  {self._remaining()}{self._status}", style="dim")
        return Group(table, Text(), ProgressBar(total=total, completed=self._done, width=60), line)

    def _remaining(self) -> str:
        """A guess from the pace so far; none before there is a pace."""
        left = len(self._plan.runs) - self._done
        if not self._fresh or not left:
            return ""
        seconds = (time.monotonic() - self._started) / self._fresh * left
        return f"about {show_seconds(round(seconds))} left  " if seconds >= 2 else ""

    def _cell(self, problem: str, solver: str):
        from rich.text import Text

        records = self._records.get((problem, solver), [])
        planned = any(r.problem == problem and r.solver == solver for r in self._plan.runs)
        if not records:
            return Text("…" if planned else "–", style="dim")
        if any(r.failed for r in records):
            return Text("failed", style="red")
        converged = sum(r.status == "converged" for r in records)
        ran = sorted(_ran(r) for r in records)[len(records) // 2]
        style = "green" if converged == len(records) else "yellow"
        label = show_seconds(ran) if converged == len(records) else records[-1].status
        return Text(f"{label} {len(records)}/{self._plan.seeds}", style=style)


def _ran(record: Record) -> float:
    column = record.columns.get("seconds")
    return float(column[-1]) if column is not None and len(column) else float("nan")
