"""Checkpoints of a run: one file, written atomically, refused where it does not belong."""

import json
import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

FORMAT = 1


def plain(text: str) -> str:
    """Text without memory addresses, which differ from process to process."""
    return re.sub(r"0x[0-9a-f]+", "0x", text)


def save(path: Path, identity: str, carry: Any, rows: Sequence[Mapping[str, float]], seconds: float) -> None:
    """Writes a checkpoint: to a temporary file beside ``path``, to disk, then in its place.

    Args:
        path: the file; its folder must exist.
        identity: a digest of what is being solved.
        carry: a pytree of arrays (random keys included).
        rows: the trace so far.
        seconds: run time so far.

    Raises:
        OSError: it cannot be written; the earlier checkpoint is intact.
    """
    leaves = jax.tree.leaves(carry)
    arrays: dict[str, Any] = {f"leaf{i}": np.asarray(_data(v)) for i, v in enumerate(leaves)}
    meta = {"format": FORMAT, "identity": identity, "leaves": len(leaves), "seconds": seconds, "rows": rows}
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            np.savez(file, meta=np.frombuffer(json.dumps(meta).encode(), np.uint8), **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load(path: Path, identity: str, like: Any) -> tuple[Any, list[dict[str, float]], float]:
    """Reads a checkpoint back.

    Args:
        path: the file.
        identity: the digest it has to carry.
        like: a pytree of the carry's structure.

    Returns:
        The carry, the trace's rows and the run time.

    Raises:
        ValueError: the file is damaged, or is of another problem, start, solver or key.
    """
    try:
        with open(path, "rb") as opened, np.load(opened) as file:
            meta = json.loads(bytes(file["meta"]).decode())
            arrays = [file[f"leaf{i}"] for i in range(meta["leaves"])]
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError, OSError) as error:
        raise ValueError(f"the checkpoint {path} is damaged ({error}); delete it to start afresh") from None
    if meta["format"] != FORMAT or meta["identity"] != identity:
        raise ValueError(
            f"the checkpoint {path} is of another problem, start, solver or key; "
            "delete it or name another file"
        )
    leaves, treedef = jax.tree.flatten(like)
    restored = [_undata(a, v) for a, v in zip(arrays, leaves, strict=True)]
    return jax.tree.unflatten(treedef, restored), meta["rows"], meta["seconds"]


def _is_key(v: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(v), jax.dtypes.prng_key)


def _data(v: Any) -> Any:
    return jax.random.key_data(v) if _is_key(v) else v


def _undata(a: np.ndarray, like: Any) -> Any:
    if _is_key(like):
        return jax.random.wrap_key_data(jnp.asarray(a), impl=jax.random.key_impl(like))
    return jnp.asarray(a, jnp.result_type(like))
