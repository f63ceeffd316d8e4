"""What several checks share: comparing pytrees, running a few steps, counting compilations."""

import contextlib
import dataclasses
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree, Scalar

from frechet.core import loop
from frechet.core.problem import Problem
from frechet.core.solve import Solution, default_tol, join, solve, split
from frechet.core.solver import Solver
from frechet.workbench.checking.canonical import Case

FEW = 4
"""Steps in checks that compare step by step."""


def key(seed: int = 0) -> PRNGKeyArray:
    """The random key of the checks."""
    return jax.random.key(seed)


def raveled(x: PyTree[Any]) -> np.ndarray:
    """All entries of a pytree as one float64 vector."""
    leaves = [np.asarray(v, np.float64).ravel() for v in jax.tree.leaves(x)]
    return np.concatenate(leaves) if leaves else np.zeros(0)


def distance(a: PyTree[Any], b: PyTree[Any]) -> float:
    """Euclidean distance, in float64."""
    return float(np.linalg.norm(raveled(a) - raveled(b)))


def finite(x: PyTree[Any]) -> bool:
    """Whether every entry is finite."""
    return bool(np.all(np.isfinite(raveled(x))))


def plain(v: Any) -> np.ndarray:
    """A leaf as a NumPy array; a random key as its data."""
    if isinstance(v, jax.Array) and jnp.issubdtype(v.dtype, jax.dtypes.prng_key):
        v = jax.random.key_data(v)
    return np.asarray(v)


def named(tree: PyTree[Any]) -> dict[str, np.ndarray]:
    """The leaves by path."""
    return {jax.tree_util.keystr(k): plain(v) for k, v in jax.tree_util.tree_leaves_with_path(tree)}


def different_bits(a: PyTree[Any], b: PyTree[Any]) -> list[str]:
    """The paths of leaves that are not the same bit for bit."""
    one, two = named(a), named(b)
    return [k for k in one if one[k].tobytes() != two[k].tobytes()]


def different(a: PyTree[Any], b: PyTree[Any], tol: float = 1e-8) -> list[str]:
    """The leaves that differ by more than rounding, each with by how much; integers have to be equal.

    Bytes (uint8) are not compared: they are a digest of something, which the least rounding changes.
    """
    found = []
    one, two = named(a), named(b)
    for k in one:
        u, v = one[k], two[k]
        if u.dtype == np.uint8:
            continue
        if not np.issubdtype(u.dtype, np.inexact):
            if not np.array_equal(u, v):
                found.append(f"{k}: {u.tolist()} and {v.tolist()}")
        elif not np.allclose(u, v, rtol=tol, atol=tol * (1 + _largest(v)), equal_nan=True):
            found.append(f"{k}: by {np.max(np.abs(u - v)):.1e}")
    return found


def _largest(v: np.ndarray) -> float:
    v = np.abs(v[np.isfinite(v)])
    return float(v.max(initial=0.0))


def shapes(tree: PyTree[Any]) -> dict[str, str]:
    """Dtype and shape of each leaf by path."""
    return {
        jax.tree_util.keystr(k): f"{v.dtype}{list(v.shape)}"
        for k, v in jax.tree_util.tree_leaves_with_path(tree)
    }


def solved(solver: Solver, case: Case, dtype: Any = None, **options: Any) -> Solution:
    """The case solved with the checks' key and, unless named, the default tolerance.

    Which arguments are given is part of the compiled program, so the same are given everywhere.
    """
    problem, x0 = case.problem(dtype), case.start(dtype)
    return solve(problem, x0, solver, **{"key": key(), "tol": default_tol(x0), **options})


def few_steps(solver: Solver, case: Case, n: int = FEW, seed: int = 0, **changed: Any) -> Solution:
    """Exactly ``n`` steps: no tolerance ends them."""
    return solve(case.problem(**changed), case.start(), solver, tol=-1.0, max_steps=n, key=key(seed))


def shape_of(
    solver: Solver, case: Case, dtype: Any, of: Callable[[Problem, PyTree[Array], Solver], Any]
) -> Any:
    """The shapes of what ``of(problem, x0, solver)`` returns, with hyperparameters traced as in `solve`."""
    dynamic, static = split((case.problem(dtype), case.start(dtype), solver))
    return jax.eval_shape(lambda dynamic: of(*join(static, dynamic)), dynamic)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _compiled(of: Callable[..., Any], static: Any, dynamic: list) -> Any:
    return of(*join(static, dynamic))


def compiled(of: Callable[..., Any], *parts: Any) -> Any:
    """``of(*parts)`` as one program, which all solvers whose parts differ in numbers only share.

    Operation by operation it would be dozens of programs, and each takes as long to compile as a small one.
    """
    dynamic, static = split(parts)
    return _compiled(of, static, dynamic)


def residual_at(problem: Problem, x: PyTree[Array]) -> Scalar:
    """The residual of ``x``, in a program of its own: nothing of a solver is in it."""
    return compiled(loop.residual, type(problem).lifted(problem, x), x)


def objective_at(problem: Problem, x: PyTree[Array]) -> Scalar:
    """The objective of ``x``, in a program of its own."""
    return compiled(_objective, type(problem).lifted(problem, x), x)


def _objective(problem: Problem, x: PyTree[Array]) -> Scalar:
    return problem.objective(x)


def with_floats(solver: Solver, change: Callable[[float], Any]) -> Solver | None:
    """The solver with every float hyperparameter changed; None if it has none."""
    fields = {
        f.name: getattr(solver, f.name)
        for f in dataclasses.fields(solver)
        if isinstance(getattr(solver, f.name), float)
    }
    if not fields:
        return None
    return dataclasses.replace(solver, **{k: change(v) for k, v in fields.items()})


class _Compilations(threading.local):
    count = 0


_compilations = _Compilations()


def _listen(event: str, duration_secs: float, **_: Any) -> None:
    if event == "/jax/core/compile/backend_compile_duration":
        _compilations.count += 1


jax.monitoring.register_event_duration_secs_listener(_listen)


@contextlib.contextmanager
def compilations() -> Iterator[Callable[[], int]]:
    """Counts what XLA compiled since the block began.

    Example:
        >>> with compilations() as count:
        ...     _ = jax.jit(lambda x: x + 1)(jnp.ones(3))
        ...     count() >= 1
        True
    """
    before = _compilations.count
    yield lambda: _compilations.count - before
