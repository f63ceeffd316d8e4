"""Worker processes on this machine, the default: nothing to set up, nothing to leave running.

Fairness: every worker is pinned to one core of its own and its numerical libraries to one thread, so
that runs side by side do not take time from each other; there are as many workers as cores. What
they still share is memory bandwidth, cache and the core's clock; ``workers=1`` removes that too. On an
accelerator there is one worker, because two processes would share one device.
"""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import IO

from frechet.workbench.comparing.record import Record
from frechet.workbench.comparing.runner import Task
from frechet.workbench.errors import UserError

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# A run that overstays its seconds by this much hangs: compiling and evaluating are not in the budget.
_GRACE, _FACTOR = 300.0, 10.0


@dataclass
class _Worker:
    """A child process and the unit it is at."""

    cores: str
    process: subprocess.Popen = field(init=False)
    connection: Connection = field(init=False)
    errors: IO[bytes] = field(init=False)
    unit: deque[Task] = field(default_factory=deque)
    since: float = 0.0

    def start(self) -> None:
        mine, theirs = multiprocessing.Pipe()
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop()
        one_thread = dict.fromkeys(_ONE_THREAD, "1") if self.cores else {}
        command = [sys.executable, "-m", "frechet.workbench.comparing.worker"]
        self.process = subprocess.Popen(
            [*command, str(theirs.fileno()), str(os.getpid()), self.cores],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=self.errors,
            stderr=self.errors,
            env={**os.environ, **one_thread},
            start_new_session=True,  # Ctrl-C reaches the parent only, which then ends its workers
        )
        theirs.close()
        self.connection = mine

    def give(self, unit: deque[Task]) -> None:
        self.unit, self.since = unit, time.monotonic()
        with contextlib.suppress(BrokenPipeError):  # its death shows when its answer is awaited
            self.connection.send(list(unit))

    def overdue(self) -> bool:
        seconds = self.unit[0].spec.budget.get("seconds") if self.unit else None
        return seconds is not None and time.monotonic() - self.since > _GRACE + _FACTOR * seconds

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        self.connection.close()
        self.errors.close()

    def epitaph(self) -> str:
        """Why it died, as far as can be told from outside."""
        code = self.process.wait()
        self.errors.seek(0)
        said = self.errors.read()[-4000:].decode(errors="replace").strip().splitlines()
        last = f": {said[-1][:200]}" if said else ""
        if code < 0:
            name = signal.Signals(-code).name
            hint = " (out of memory?)" if -code == signal.SIGKILL else ""
            return f"its process died by {name}{hint}{last}"
        return f"its process ended with exit code {code}{last}"


class Engine:
    """Local worker processes.

    Args:
        workers: how many; None for one a core (one in all on an accelerator).
        address: has to be None; a cluster needs another engine.
    """

    def __init__(self, *, workers: int | None = None, address: str | None = None):
        if address is not None:
            raise UserError("the local engine takes no address; use --engine ray for a cluster")
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        if _accelerated():
            self._cores, self.description = (
                [""] * (workers or 1),
                f"{workers or 1} local worker on the accelerator",
            )
            return
        if workers is not None and cores and workers > len(cores):
            raise UserError(
                f"workers is {workers} but there are {len(cores)} cores; sharing them would spoil the timings"
            )
        count = workers or len(cores) or os.cpu_count() or 1
        self._cores = [str(c) for c in cores[:count]] or [""] * count
        self.description = (
            f"{count} local worker process{'es' * (count > 1)}, each pinned to one core of its own"
        )

    def run(self, units: deque[list[Task]]) -> Generator[Record, None, None]:
        """See `frechet.workbench.comparing.engines.Runs.run`."""
        free = deque(_Worker(cores) for cores in self._cores)
        started: list[_Worker] = []
        try:
            while True:
                for worker in started:
                    if units and not worker.unit:
                        worker.give(deque(units.popleft()))
                while units and free:
                    worker = free.popleft()
                    worker.start()
                    started.append(worker)
                    worker.give(deque(units.popleft()))
                busy = [w for w in started if w.unit]
                if not busy:
                    return
                ready = wait([w.connection for w in busy], timeout=5.0)
                for worker in busy:
                    if worker.connection in ready:
                        yield self._receive(worker)
                    elif worker.overdue():
                        yield self._replace(worker, "it did not come to an end long after its time budget")
        finally:
            for worker in started:
                worker.stop()

    def _receive(self, worker: _Worker) -> Record:
        try:
            record = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            return self._replace(worker, worker.epitaph())
        worker.unit.popleft()
        worker.since = time.monotonic()
        return record

    def _replace(self, worker: _Worker, reason: str) -> Record:
        """Writes off the task at hand and goes on with a fresh process."""
        lost = worker.unit.popleft()
        rest = worker.unit
        worker.stop()
        worker.start()
        worker.unit = deque()
        if rest:
            worker.give(rest)
        return Record.failure(lost.spec, reason)


def _accelerated() -> bool:
    import jax

    return jax.default_backend() != "cpu"
