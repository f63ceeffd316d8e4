"""SciPy's solvers as a dialogue: they ask for an evaluation, the compiled program answers.

A SciPy solver calls the function, but a host callback that runs JAX code can deadlock with the program it
was called from. So SciPy runs in a thread that stops wherever it needs an evaluation. The program learns
through one callback what is asked, evaluates it itself, and brings the answer with the next. No callback
runs JAX code.

What a SciPy run does depends on its start and on the answers alone, so the callbacks are pure: a run is
found by a digest of both, and one that is not there (after a resume, in another process, or because a member
of a batch was frozen) is made again from the recorded answers.
"""

import atexit
import collections
import hashlib
import itertools
import queue
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

_LIVE = 256


class Reply(NamedTuple):
    """What SciPy asks next: arrays of fixed shapes.

    ``query`` numbers the kind of evaluation, at ``point`` and along ``vector``; it is -1 when the run has
    ended. ``x`` is the last iterate accepted. ``known`` is false where the run has to be made again.
    """

    query: Any
    point: Any
    vector: Any
    x: Any
    digest: Any
    known: Any


def form(vector: Any) -> Reply:
    """Shapes and dtypes of a reply with vectors like ``vector``."""
    like = jax.ShapeDtypeStruct(vector.shape, vector.dtype)
    return Reply(
        query=jax.ShapeDtypeStruct((), np.int32),
        point=like,
        vector=like,
        x=like,
        digest=jax.ShapeDtypeStruct((16,), np.uint8),
        known=jax.ShapeDtypeStruct((), np.bool_),
    )


class _Closed(Exception):
    """Ends a run nobody waits for."""


class Run:
    """One SciPy run in a thread of its own.

    Args:
        drive: ``drive(start, lower, upper, ask, report)`` runs SciPy and returns the final iterate;
            ``ask(query, point, vector)`` returns an evaluation, ``report(x)`` notes an accepted iterate.
        start: where the run starts, a vector.
        lower: lower bounds, a vector.
        upper: upper bounds, a vector.
    """

    def __init__(self, drive: Callable, start: np.ndarray, lower: np.ndarray, upper: np.ndarray):
        self._requests: queue.SimpleQueue = queue.SimpleQueue()
        self._answers: queue.SimpleQueue = queue.SimpleQueue()
        self._x = start
        self._finite = bool(np.all(np.isfinite(start)))
        self._thread = threading.Thread(target=self._work, args=(drive, start, lower, upper), daemon=True)
        self._thread.start()
        self.pending = self._next()

    def _work(self, drive: Callable, start: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> None:
        nothing = np.zeros_like(start)
        try:
            with np.errstate(all="ignore"):
                x = np.array(drive(start.copy(), lower, upper, self._ask, self._report), float)
            self._requests.put((-1, x, nothing, x))
        except _Closed:
            pass
        except Exception as error:
            # Some methods raise on NaN, which is no fault of the call: the run ends where it is.
            self._requests.put(error if self._finite else (-1, self._x, nothing, self._x))

    def _ask(self, query: int, point: np.ndarray, vector: np.ndarray | None = None) -> np.ndarray:
        vector = np.zeros_like(point) if vector is None else np.array(vector, float)
        self._requests.put((query, np.array(point, float), vector, self._x))
        answer = self._answers.get()
        if answer is None:
            raise _Closed
        return answer

    def _report(self, x: np.ndarray) -> None:
        self._x = np.array(x, float)

    def _next(self) -> tuple:
        request = self._requests.get()
        if isinstance(request, Exception):
            raise request
        return request

    @property
    def waiting(self) -> bool:
        """Whether it can take an answer."""
        return self.pending[0] >= 0 and self._thread.is_alive()

    def tell(self, answer: np.ndarray) -> None:
        """Hands over the evaluation asked for and waits for the next request."""
        self._finite = self._finite and bool(np.all(np.isfinite(answer)))
        self._answers.put(np.array(answer, float))
        self.pending = self._next()

    def close(self) -> None:
        """Ends the thread."""
        self._answers.put(None)

    def join(self) -> None:
        """Waits for the thread to end."""
        self._thread.join(timeout=1.0)


_runs: collections.OrderedDict[bytes, Run] = collections.OrderedDict()
_lock = threading.RLock()


def _keep(digest: bytes, run: Run) -> None:
    _runs[digest] = run
    _runs.move_to_end(digest)
    while len(_runs) > _LIVE:
        _runs.popitem(last=False)[1].close()


@atexit.register
def _close_all() -> None:
    # A thread inside of SciPy's compiled code when the interpreter ends disturbs its end.
    runs = list(_runs.values())
    for act in (Run.close, Run.join):
        for run in runs:
            act(run)


def _digest(*parts: bytes) -> bytes:
    return hashlib.blake2b(b"".join(parts), digest_size=16).digest()


def _reply(run: Run | None, digest: bytes, like: np.ndarray) -> Reply:
    if run is None:
        blank = np.zeros_like(like)
        return Reply(np.int32(-1), blank, blank, blank, np.zeros(16, np.uint8), np.False_)
    query, *vectors = run.pending
    with np.errstate(over="ignore"):  # what has diverged in float64 is infinite in float32
        point, vector, x = (np.asarray(v, like.dtype) for v in vectors)
    return Reply(np.int32(query), point, vector, x, np.frombuffer(digest, np.uint8).copy(), np.True_)


def answer(start: Any, digest: Any, evaluation: Any, wanted: Any) -> Reply:
    """Brings an evaluation to the run with that digest; not ``known`` if there is none."""
    like = np.asarray(start)
    if not wanted:
        return _reply(None, b"", like)
    evaluation, before = np.asarray(evaluation), np.asarray(digest).tobytes()
    after = _digest(before, evaluation.tobytes())
    with _lock:
        run = _runs.get(after)
        if run is None:
            run = _runs.pop(before, None)
            if run is None or not run.waiting:
                return _reply(None, b"", like)
            run.tell(evaluation)
        _keep(after, run)
        return _reply(run, after, like)


def replay(
    name: str, drive: Callable, start: Any, lower: Any, upper: Any, tape: Any, count: Any, wanted: Any
) -> Reply:
    """Starts a run and brings it the first ``count`` evaluations of the tape.

    Args:
        name: tells runs of different settings apart.
        drive: as for `Run`.
        start: where the run starts, a vector.
        lower: lower bounds, a vector.
        upper: upper bounds, a vector.
        tape: evaluations, one a row.
        count: how many rows have been asked for so far.
        wanted: nothing is done where false.
    """
    like = np.asarray(start)
    if not wanted:
        return _reply(None, b"", like)
    vectors = [np.asarray(v) for v in (start, lower, upper)]
    digest = _digest(name.encode(), *(v.tobytes() for v in vectors))
    with _lock:
        run = Run(drive, *(v.astype(float) for v in vectors))
        for evaluation in np.asarray(tape)[: int(count)]:
            if not run.waiting:
                break
            digest = _digest(digest, evaluation.tobytes())
            run.tell(evaluation)
        _keep(digest, run)
        return _reply(run, digest, like)


# ------------------------------------------------------------------ runs that nobody makes again


_numbers = itertools.count(1)


def begin(drive: Callable, start: Any, lower: Any, upper: Any) -> Reply:
    """Starts a run that its digest alone stands for, to be used in callbacks that run once and in order.

    Args:
        drive: as for `Run`.
        start: where the run starts, a vector.
        lower: lower bounds, a vector.
        upper: upper bounds, a vector.
    """
    like = np.asarray(start)
    run = Run(drive, *(np.asarray(v).astype(float) for v in (start, lower, upper)))
    digest = _digest(b"number", next(_numbers).to_bytes(8, "little"))
    with _lock:
        _keep(digest, run)
    return _reply(run, digest, like)


def tell(start: Any, digest: Any, evaluation: Any) -> Reply:
    """Brings an evaluation to a run that `begin` started."""
    key = np.asarray(digest).tobytes()
    with _lock:
        run = _runs.get(key)
    if run is None:
        raise RuntimeError(f"more than {_LIVE} of SciPy's runs at once")
    run.tell(np.asarray(evaluation))
    return _reply(run, key, np.asarray(start))


def end(digest: Any) -> None:
    """Forgets a run that `begin` started."""
    with _lock:
        _runs.pop(np.asarray(digest).tobytes()).close()
