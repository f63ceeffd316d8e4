"""The process that runs tasks for the local engine: ``python -m frechet.workbench.comparing.worker``.

A plain child process rather than a `multiprocessing` one: it does not import the caller's main script
again, so that ``compare`` works from a script without a guard, a notebook and a prompt, and its
environment and cores are set before JAX starts.
"""

import contextlib
import os
import sys
import threading
import time
from multiprocessing.connection import Connection


def _die_with_parent(parent: int) -> None:
    """A killed comparison leaves no worker behind to compete with the next one."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)


def main() -> None:
    """Takes units (lists of tasks) from the connection until there is no more; sends a record a task."""
    handle, parent, cores = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(c) for c in cores.split(",")})
    threading.Thread(target=_die_with_parent, args=(parent,), daemon=True).start()
    connection = Connection(handle)

    from frechet.workbench.comparing.runner import execute, forget

    last = None
    with contextlib.suppress(EOFError, BrokenPipeError):
        while (unit := connection.recv()) is not None:
            # The runs that trials chose settings for follow them, and use their program.
            if (now := (unit[0].spec.problem, unit[0].spec.solver)) != last:
                forget()
            last = now
            for task in unit:
                connection.send(execute(task))


if __name__ == "__main__":
    main()
