"""Short stable names for what is run: the same problem or solver has the same one in any process."""

import hashlib
import inspect
import json
import re
from pathlib import Path
from typing import Any

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+|id=0x[0-9a-fA-F]+|id=\d+")


def digest(*parts: Any) -> str:
    """Twenty hexadecimal digits of the SHA-256 of JSON-able parts, whatever the order of dictionary keys.

    Example:
        >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
        True
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _arrays(tree: Any) -> str:
    """Content of every array leaf: shape, dtype, bytes."""
    import jax
    import numpy as np

    sha = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        if not hasattr(leaf, "shape"):
            sha.update(repr(leaf).encode())
            continue
        array = np.asarray(
            jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        )
        sha.update(f"{array.dtype}{array.shape}".encode())
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


def of_problem(problem: Any, x0: Any) -> str:
    """Names what the problem computes: its traced program, every array in it, and the start.

    Tracing sees through closures, so a changed constant inside a lambda is a changed problem, while the
    same function written in another place or process is the same one.
    """
    import jax

    at = problem.start(x0)
    traced = jax.make_jaxpr(lambda x: (problem.objective(x), problem.optimality(x)))(at)
    program = _ADDRESS.sub("", str(traced.jaxpr))
    return digest(program, _arrays(traced.consts), str(jax.tree.structure(x0)), _arrays(x0))


def of_solver(solver: Any) -> str:
    """Names a solver: its class, the file that defines it, its settings as printed, its arrays."""
    cls = type(solver)
    try:
        source = Path(inspect.getfile(cls)).read_bytes()
    except (OSError, TypeError):  # typed at a prompt: there is no file to have changed
        source = b""
    return digest(
        f"{cls.__module__}.{cls.__qualname__}",
        hashlib.sha256(source).hexdigest(),
        _ADDRESS.sub("", repr(solver)),
        _arrays(solver),
    )
