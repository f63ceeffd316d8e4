"""Short stable names for what is run: the same problem or solver has the same one in any process."""

import hashlib
import inspect
import json
import re
from pathlib import Path
from typing import Any

from frechet.workbench.comparing.loading import described, initial

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

    The program is the objective with what tells how good a point is: the optimality map, or without one
    the measures. Tracing sees through closures, so a changed constant inside a lambda is a changed problem,
    while the same function written in another place or process is the same one.
    """
    import jax

    at = problem.start(x0)

    def program_of(x):
        return problem.objective(x), problem.optimality(x) if problem.testable else problem.measures(x)

    traced = jax.make_jaxpr(program_of)(at)
    program = _ADDRESS.sub("", str(traced.jaxpr))
    drawn = _arrays(initial(problem, 0))
    return digest(program, _arrays(traced.consts), str(jax.tree.structure(x0)), _arrays(x0), drawn)


def of_solver(solver: Any) -> str:
    """Names a solver: the class or function that makes it, its file, its settings as printed, its arrays."""
    made_by = described(solver)
    try:
        source = Path(inspect.getfile(made_by)).read_bytes()
    except (OSError, TypeError):  # typed at a prompt: there is no file to have changed
        source = b""
    return digest(
        f"{made_by.__module__}.{made_by.__qualname__}",
        hashlib.sha256(source).hexdigest(),
        _ADDRESS.sub("", repr(solver)),
        _arrays(solver),
    )
