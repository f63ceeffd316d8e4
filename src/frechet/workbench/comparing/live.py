"""What a person sees while a comparison runs: a live table on a terminal, a line a run elsewhere."""

import time
from collections import Counter
from types import TracebackType

from frechet.workbench.comparing.plan import Plan, ProblemCard
from frechet.workbench.comparing.record import Record
from frechet.workbench.comparing.result import show_height, show_seconds, show_settings


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
        self._cards = {card.name: card for card in plan.problems}
        self._records: dict[tuple[str, str], list[Record]] = {}
        self._trials: Counter[tuple[str, str]] = Counter()
        self._planned = Counter((s.problem, s.solver) for s in plan.trials)
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
            self._say(f"{len(records)} of {self._plan.total} runs are there already")

    def add(self, record: Record) -> None:
        """A run that has just finished."""
        self._keep(record)
        self._fresh += 1
        spec = record.spec
        ended = record.reason
        if not record.failed:
            ended = f"{watched(record, self._cards[spec.problem])}, {show_seconds(_ran(record))}"
        settings = f" ({show_settings(spec.settings)})" if spec.trial is not None and spec.settings else ""
        self._say(
            f"[{self._done}/{self._plan.total}] {spec.problem}  {spec.solver}  {spec.words}{settings}: "
            f"{record.status}, {ended}"
        )

    def tuned(self, chosen: Record, trials: list[Record]) -> None:
        """A solver's settings on a problem are chosen."""
        spec = chosen.spec
        self._status = (
            f"tuned {spec.solver} on {spec.problem}: {spec.words} of {len(trials)}, "
            f"{show_settings(spec.settings)}"
        )
        self._say(self._status)

    def polished(self, record: Record) -> None:
        """A reference optimum is done."""
        ended = record.reason if record.failed else f"residual {record.residual:.1e}"
        self._status = f"polished the reference optimum of {record.spec.problem}: {ended}"
        self._say(self._status)

    def _keep(self, record: Record) -> None:
        self._done += 1
        pair = (record.spec.problem, record.spec.solver)
        if record.spec.trial is None:
            self._records.setdefault(pair, []).append(record)
        else:
            self._trials[pair] += 1

    def _say(self, line: str) -> None:
        if self._live is None:
            self._console.print(line, highlight=False, soft_wrap=True, markup=False)

    def _render(self):
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        total = self._plan.total
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
        left = self._plan.total - self._done
        if not self._fresh or not left:
            return ""
        seconds = (time.monotonic() - self._started) / self._fresh * left
        return f"about {show_seconds(round(seconds))} left  " if seconds >= 2 else ""

    def _cell(self, problem: str, solver: str):
        from rich.text import Text

        records = self._records.get((problem, solver), [])
        planned = any(r.problem == problem and r.solver == solver for r in self._plan.runs)
        if not records:
            if tried := self._trials[problem, solver]:
                return Text(f"trial {tried}/{self._planned[problem, solver]}", style="dim")
            return Text("…" if planned else "–", style="dim")
        if any(r.failed for r in records):
            return Text("failed", style="red")
        card = self._cards[problem]
        if not card.testable:
            values = sorted(r.settled(card.watched) for r in records)
            met = card.target is not None and card.target.met(values[len(values) // 2])
            label = f"{values[len(values) // 2]:.4g} {len(records)}/{self._plan.seeds}"
            return Text(label, style="green" if met else "yellow")
        converged = sum(r.status == "converged" for r in records)
        ran = sorted(_ran(r) for r in records)[len(records) // 2]
        style = "green" if converged == len(records) else "yellow"
        label = show_seconds(ran) if converged == len(records) else records[-1].status
        return Text(f"{label} {len(records)}/{self._plan.seeds}", style=style)


def watched(record: Record, card: ProblemCard) -> str:
    """What a run came to, in words: its residual, or what stands for it."""
    if card.testable:
        return f"residual {record.residual:.1e}"
    return f"{show_height(card.watched)} {record.settled(card.watched):.4g}"


def _ran(record: Record) -> float:
    column = record.columns.get("seconds")
    return float(column[-1]) if column is not None and len(column) else float("nan")
