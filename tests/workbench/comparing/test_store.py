"""Results survive: whole files or none, damaged ones set aside, folders not mixed up."""

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frechet.workbench.comparing import store as module
from frechet.workbench.comparing.record import Record
from frechet.workbench.comparing.store import MANIFEST, Store, decode, encode
from frechet.workbench.errors import UserError

from .conftest import make_record, make_spec

IDENTITY = {"problems": ["p"], "budget": {"seconds": 1.0}, "tol": 1e-6, "precision": "float64"}


def begun(folder) -> Store:
    store = Store(folder)
    store.claim(IDENTITY)
    store.begin({"identity": IDENTITY})
    return store


def same(a: Record, b: Record) -> bool:
    return (
        a.spec == b.spec
        and a.columns.keys() == b.columns.keys()
        and all(np.array_equal(a.columns[k], b.columns[k], equal_nan=True) for k in a.columns)
        and np.array_equal(a.x, b.x)
        and (a.status, a.reason, a.steps, a.environment) == (b.status, b.reason, b.steps, b.environment)
        and np.array_equal([a.residual, a.compile_seconds], [b.residual, b.compile_seconds], equal_nan=True)
    )


def test_record_survives_the_file(tmp_path):
    store, record = begun(tmp_path), make_record(make_spec())
    record.columns["objective"][3] = np.nan
    record.columns["residual"][0] = np.inf
    record.residual = float("nan")
    store.save(record)
    loaded = Store(tmp_path).load(make_spec())
    assert loaded is not None and same(loaded, record)
    assert [p.name for p in (tmp_path / "runs").iterdir()] == [f"{make_spec().hash}.parquet"]


def test_failed_record_survives_the_file(tmp_path):
    store = begun(tmp_path)
    store.save(Record.failure(make_spec(), "its process died\nby SIGSEGV"))
    loaded = store.load(make_spec())
    assert loaded is not None and loaded.failed and loaded.reason == "its process died by SIGSEGV"


def test_rows_are_readable_by_anyone(tmp_path):
    import polars as pl

    store, record = begun(tmp_path), make_record(make_spec())
    store.save(record)
    frame = pl.read_parquet(tmp_path / "runs" / f"{make_spec().hash}.parquet")
    assert frame.columns == list(record.columns)
    assert frame["calls_gradient"].to_list() == record.columns["calls_gradient"].tolist()


WHOLE = encode(make_record(make_spec()))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(WHOLE) - 1))
def test_every_truncation_is_noticed(length):
    with pytest.raises(ValueError):
        decode(WHOLE[:length])


def test_truncated_file_is_set_aside_and_asked_for_again(tmp_path):
    store = begun(tmp_path)
    store.save(make_record(make_spec()))
    path = tmp_path / "runs" / f"{make_spec().hash}.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    assert store.load(make_spec()) is None
    assert "was damaged" in store.messages[0] and path.with_suffix(".damaged").is_file()
    assert not path.exists()
    store.save(make_record(make_spec()))
    assert store.load(make_spec()) is not None


def test_a_file_under_another_runs_name_is_not_believed(tmp_path):
    store = begun(tmp_path)
    (tmp_path / "runs" / f"{make_spec(seed=1).hash}.parquet").write_bytes(
        encode(make_record(make_spec(seed=0)))
    )
    assert store.load(make_spec(seed=1)) is None
    assert "another run's" in store.messages[0]


def test_writing_is_atomic(tmp_path, monkeypatch):
    """A process stopped between writing and renaming leaves the old content, and nothing under the name."""
    store = begun(tmp_path)
    store.write("report.md", b"old")

    class Killed(BaseException):
        pass

    def stop(*_):
        raise Killed

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(Killed):
        store.write("report.md", b"new")
    with pytest.raises(Killed):
        store.save(make_record(make_spec()))
    monkeypatch.undo()
    assert (tmp_path / "report.md").read_bytes() == b"old"
    assert store.load(make_spec()) is None and not store.messages
    assert [p.name for p in tmp_path.rglob("*.tmp")] == []


def test_leftovers_of_a_killed_process_are_swept(tmp_path):
    begun(tmp_path)
    for folder in (tmp_path, tmp_path / "runs"):
        (folder / ".frechet-abc.tmp").write_bytes(b"half")
    begun(tmp_path)
    assert not list(tmp_path.rglob("*.tmp"))


def test_folder_with_foreign_files(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(
        UserError, match=r"holds other files \(thesis.tex\); give --out an empty or new folder"
    ):
        Store(tmp_path).claim(IDENTITY)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_folder_with_another_comparison(tmp_path):
    begun(tmp_path)
    other = {**IDENTITY, "problems": ["q", "r"]}
    message = (
        r"holds another comparison \(p, budget 1s, tol 1e-06, float64\); this one is q \+ r, .*another folder"
    )
    with pytest.raises(UserError, match=message):
        Store(tmp_path).claim(other)


def test_a_killed_start_does_not_block_the_folder(tmp_path):
    """A folder in which only the lock and a temporary file were made is still free."""
    (tmp_path / ".lock").touch()
    (tmp_path / ".frechet-x.tmp").touch()
    begun(tmp_path)


def test_unreadable_manifest(tmp_path):
    begun(tmp_path)
    (tmp_path / MANIFEST).write_text("{")
    with pytest.raises(UserError, match="is not readable"):
        Store(tmp_path).claim(IDENTITY)


@pytest.mark.parametrize("where", ["file", "proc", "readonly"])
def test_folder_that_cannot_be_written(tmp_path, where):
    """Also for the superuser, whom permission bits do not stop."""
    folder = {"file": tmp_path / "file" / "out", "proc": "/proc/frechet", "readonly": "/sys/kernel"}[where]
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"(cannot use|cannot write|holds other files).*give --out"):
        store = Store(folder)
        store.claim(IDENTITY)
        with store.locked():
            pass


def test_two_comparisons_do_not_share_a_folder(tmp_path):
    begun(tmp_path)
    other = Store(tmp_path).locked()
    with Store(tmp_path).locked(), pytest.raises(UserError, match="another frechet compare is running"):
        other.__enter__()
    with Store(tmp_path).locked():
        pass


def test_disk_full_by_a_writer_that_says_so(tmp_path, monkeypatch):
    store = begun(tmp_path)
    store.save(make_record(make_spec(seed=0)))

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(UserError, match=r"No space left on device; earlier results are intact"):
        store.save(make_record(make_spec(seed=1)))
    monkeypatch.undo()
    assert not list(tmp_path.rglob("*.tmp"))
    assert store.load(make_spec(seed=0)) is not None and store.load(make_spec(seed=1)) is None


_FILL = """
import sys
import numpy as np
from tests.workbench.comparing.conftest import make_record, make_spec
from tests.workbench.comparing.test_store import begun
from frechet.workbench.errors import UserError
store = begun(sys.argv[1])
saved = 0
try:
    for seed in range(100):
        record = make_record(make_spec(seed=seed), checks=200)
        record.x = np.random.default_rng(seed).random(700)
        store.save(record)
        saved += 1
except UserError as error:
    print(saved, error)
"""


def test_disk_full_on_a_small_disk(tmp_path):
    """Writes runs to a disk of 96 kB until it is full; every run that was saved is still there."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(disk)], capture_output=True
    )
    try:
        # Where one may not mount, a limit on a file's size stops the writes as a full disk does.
        limit = (
            None
            if mounted.returncode == 0
            else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192,) * 2)
        )
        done = subprocess.run(
            [sys.executable, "-c", _FILL, str(disk)],
            capture_output=True,
            text=True,
            preexec_fn=limit,
            timeout=120,
            cwd=Path(__file__).parents[3],
        )
        assert done.returncode == 0, done.stderr
        saved, _, message = done.stdout.partition(" ")
        assert "earlier results are intact" in message and "\n" not in message.strip()
        assert not list(disk.rglob("*.tmp"))
        store = Store(disk)
        assert [store.load(make_spec(seed=s)) is not None for s in range(100)] == [
            s < int(saved) for s in range(100)
        ]
        if mounted.returncode == 0:
            assert int(saved) >= 1 and "No space left" in message
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", str(disk)], check=True)
