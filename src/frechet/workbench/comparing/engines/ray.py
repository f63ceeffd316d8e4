"""The same work over a Ray cluster (extra ``frechet[ray]``); nothing else changes.

Without an address a Ray of this machine's own is started: bound to the loopback interface, without
dashboard and usage statistics, and stopped at the end. Fairness: a unit reserves one core, and its
numerical libraries use one thread. A user's own file has to be at the same path on every node.
"""

import os
import warnings
from collections import deque
from collections.abc import Generator, Iterator
from typing import Any

from frechet.workbench.comparing.loading import last_line
from frechet.workbench.comparing.record import Record
from frechet.workbench.comparing.runner import Task
from frechet.workbench.errors import UserError

_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}


def _unit(tasks: list[Task]) -> Iterator[Record]:
    """Runs a unit in a Ray worker, a record at a time."""
    from frechet.workbench.comparing.runner import execute, forget

    for task in tasks:
        yield execute(task)
    forget()


class Engine:
    """A Ray cluster.

    Args:
        workers: units at a time; None for as many as the cluster has cores.
        address: of a running cluster, such as ``"auto"`` or ``"ray://host:10001"``; None starts one here.
    """

    def __init__(self, *, workers: int | None = None, address: str | None = None):
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        try:
            import ray
            import ray.exceptions
        except ImportError as error:
            raise UserError("the ray engine needs Ray; install frechet[ray]") from error
        self._ray: Any = ray
        self._lost = ray.exceptions.RayError
        self._owned = not ray.is_initialized()
        if self._owned:
            self._start(workers, address)
        cores = int(ray.cluster_resources().get("CPU", 1))
        self._workers = min(workers or cores, cores)
        where = f"the Ray cluster at {address}" if address else "a local Ray"
        self.description = f"{self._workers} Ray worker{'s' * (self._workers > 1)} on {where}, one core a run"

    def _start(self, workers: int | None, address: str | None) -> None:
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
        if address is None:
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
            options = {
                "num_cpus": workers or cores,
                "include_dashboard": False,
                "_node_ip_address": "127.0.0.1",
                **quiet,
            }
        else:
            options = {"address": address, **quiet}
        try:
            # Ray's children replace themselves at once, so JAX's warning on forking does not concern them.
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*fork", category=RuntimeWarning)
                self._ray.init(**options)
        except Exception as error:
            what = f"reach a Ray cluster at {address}" if address else "start a local Ray"
            raise UserError(f"cannot {what}: {last_line(error)}") from error

    def run(self, units: deque[list[Task]]) -> Generator[Record, None, None]:
        """See `frechet.workbench.comparing.engines.Runs.run`."""
        ray = self._ray
        remote = ray.remote(_unit).options(
            num_cpus=1, max_retries=0, num_returns="streaming", runtime_env={"env_vars": _ENVIRONMENT}
        )
        running: dict[Any, list[Task]] = {}
        try:
            while units or running:
                while units and len(running) < self._workers:
                    unit = list(units.popleft())
                    running[remote.remote(unit)] = unit
                stream = ray.wait(list(running), num_returns=1, fetch_local=False)[0][0]
                unit = running[stream]
                try:
                    record = ray.get(next(stream))
                except StopIteration:
                    del running[stream]
                    continue
                except self._lost as error:
                    del running[stream]
                    record = Record.failure(unit[0].spec, f"its Ray worker was lost: {last_line(error)}")
                    if unit[1:]:
                        units.appendleft(unit[1:])
                else:
                    unit.pop(0)
                yield record
        finally:
            for stream in running:
                ray.cancel(stream, force=True)
            if self._owned:
                ray.shutdown()
