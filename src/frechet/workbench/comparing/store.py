"""A folder of results: one Parquet file a run, written whole or not at all.

A file appears under its final name only after its bytes are on disk, so whatever stops the process,
a file that is there is a run that finished. A file that cannot be read all the same (a disk that lost
it) is set aside and its run repeated.
"""

import base64
import contextlib
import fcntl
import io
import json
import os
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from frechet.workbench.comparing.budget import show_budget
from frechet.workbench.comparing.plan import RunSpec
from frechet.workbench.comparing.record import Record
from frechet.workbench.errors import UserError

MANIFEST = "comparison.json"
FORMAT = 2
_TEMPORARY = ".frechet-"
_LOCK = ".lock"
_OWN = {MANIFEST, "runs", "report.html", "report.md", "report.png", _LOCK}


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file whole or leaves what was there; on an error nothing of it remains.

    Raises:
        UserError: the disk is full or the folder cannot be written to.
    """
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=_TEMPORARY, suffix=".tmp", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        temporary = None
        _sync_folder(path.parent)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; earlier results are intact, "
            "make room or choose another folder and run the same command again"
        ) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def _sync_folder(folder: Path) -> None:
    """A rename is on disk only once its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def encode(record: Record) -> bytes:
    """A record as the bytes of a Parquet file: the trace as rows, the rest as JSON in its metadata."""
    import polars as pl

    about = {
        "format": FORMAT,
        "hash": record.spec.hash,
        "spec": {k: getattr(record.spec, k) for k in record.spec.__dataclass_fields__},
        "status": record.status,
        "reason": record.reason,
        "residual": _plain(record.residual),
        "steps": record.steps,
        "compile_seconds": _plain(record.compile_seconds),
        "parameter_bytes": record.parameter_bytes,
        "state_bytes": record.state_bytes,
        "environment": record.environment,
        "x": {
            "dtype": str(record.x.dtype),
            "zlib": base64.b64encode(zlib.compress(np.ascontiguousarray(record.x).tobytes(), 1)).decode(),
        },
    }
    buffer = io.BytesIO()
    pl.DataFrame(record.columns).write_parquet(buffer, metadata={"frechet": json.dumps(about)})
    return buffer.getvalue()


def decode(data: bytes) -> Record:
    """The record that `encode` wrote.

    Raises:
        ValueError: the bytes are not a whole such file.
    """
    import polars as pl

    try:
        about = json.loads(pl.read_parquet_metadata(io.BytesIO(data))["frechet"])
        frame = pl.read_parquet(io.BytesIO(data))
        x = np.frombuffer(zlib.decompress(base64.b64decode(about["x"]["zlib"])), about["x"]["dtype"])
        spec = RunSpec(**about["spec"])
        if about["format"] != FORMAT or spec.hash != about["hash"]:
            raise ValueError("its content does not match its name")
    except Exception as error:  # Polars raises several kinds, a panic among them, on damaged bytes
        raise ValueError(f"not a readable result: {error}") from error
    return Record(
        spec=spec,
        status=about["status"],
        columns={name: frame[name].to_numpy() for name in frame.columns},
        reason=about["reason"],
        residual=_number(about["residual"]),
        steps=about["steps"],
        compile_seconds=_number(about["compile_seconds"]),
        x=x,
        parameter_bytes=about["parameter_bytes"],
        state_bytes=about["state_bytes"],
        environment=about["environment"],
    )


def _plain(number: float) -> float | str:
    """JSON has no NaN or infinity; as text they survive."""
    return float(number) if np.isfinite(number) else str(float(number))


def _number(value: float | str) -> float:
    return float(value)


class Store:
    """The results in one folder.

    Args:
        folder: where; made if it is not there.

    Attributes:
        messages: what a person should know, such as a damaged file that was set aside.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(folder).expanduser().resolve()
        self.runs = self.folder / "runs"
        self.messages: list[str] = []

    def manifest(self) -> dict[str, Any] | None:
        """What the folder holds: the content of ``comparison.json``, or None when there is none.

        Raises:
            UserError: it is there but unreadable.
        """
        path = self.folder / MANIFEST
        try:
            content = json.loads(path.read_text())
            if content["format"] != FORMAT:
                raise ValueError(f"format {content['format']}")
            return content
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise UserError(
                f"{path} is not readable ({error}); give another --out folder or remove this one"
            ) from error

    def claim(self, identity: dict[str, Any]) -> None:
        """Makes the folder this comparison's own, or says why it cannot be.

        Raises:
            UserError: it cannot be written to, holds other files or another comparison.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            entries = sorted(p.name for p in self.folder.iterdir())
        except OSError as error:
            raise UserError(
                f"cannot use {self.folder} as output folder: {error.strerror or error}; "
                "give --out a folder you can write to"
            ) from error
        held = self.manifest()
        foreign = [e for e in entries if e not in _OWN and not e.startswith(_TEMPORARY)]
        if held is None and foreign:
            shown = ", ".join(foreign[:3]) + (f" and {len(foreign) - 3} more" if len(foreign) > 3 else "")
            raise UserError(f"{self.folder} holds other files ({shown}); give --out an empty or new folder")
        if held is not None and held["identity"] != identity:
            raise UserError(
                f"{self.folder} holds another comparison ({_words(held['identity'])}); "
                f"this one is {_words(identity)}: give --out another folder"
            )

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps a second comparison out of the folder until the process ends, in whatever way.

        Raises:
            UserError: another process has it, or the folder cannot be written to.
        """
        try:
            handle = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise UserError(
                f"cannot write to {self.folder}: {error.strerror or error}; "
                "give --out a folder you can write to"
            ) from error
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(
                    f"another frechet compare is running in {self.folder}; "
                    "wait for it or give --out another folder"
                ) from error
            yield
        finally:
            os.close(handle)

    def begin(self, manifest: dict[str, Any]) -> None:
        """Writes ``comparison.json`` first of all, and sweeps up after a process that was killed."""
        for folder in (self.folder, self.runs):
            for stale in folder.glob(f"{_TEMPORARY}*.tmp"):
                with contextlib.suppress(OSError):
                    stale.unlink()
        text = json.dumps({"format": FORMAT, **manifest}, indent=1, allow_nan=False)
        self.write(MANIFEST, text.encode())
        try:
            self.runs.mkdir(exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make {self.runs}: {error.strerror or error}") from error

    def write(self, name: str, data: bytes) -> Path:
        """Writes one file of the folder atomically and returns its path."""
        path = self.folder / name
        write_atomically(path, data)
        return path

    def save(self, record: Record) -> None:
        """Keeps a record."""
        write_atomically(self._path(record.spec), encode(record))

    def load(self, spec: RunSpec) -> Record | None:
        """The stored record of a run, or None; a damaged file is set aside with a message."""
        path = self._path(spec)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror or error}") from error
        try:
            record = decode(data)
            if record.spec != spec:
                raise ValueError("it is another run's")
        except ValueError as error:
            aside = path.with_suffix(".damaged")
            with contextlib.suppress(OSError):
                path.replace(aside)
            reason = str(error).splitlines()[0][:120]
            self.messages.append(
                f"{path.name} ({spec.solver} on {spec.problem}, {spec.words}) was damaged ({reason}); "
                f"set aside as {aside.name}, its run is repeated"
            )
            return None
        return record

    def _path(self, spec: RunSpec) -> Path:
        return self.runs / f"{spec.hash}.parquet"


def _words(identity: dict[str, Any]) -> str:
    tol = "no tolerance" if identity["tol"] is None else f"tol {identity['tol']:g}"
    problems, budget = " + ".join(identity["problems"]), show_budget(identity["budget"])
    return f"{problems}, budget {budget}, {tol}, {identity['precision']}"
