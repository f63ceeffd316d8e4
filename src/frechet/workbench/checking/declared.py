"""Checks of what a solver says about itself; nothing is compiled."""

import dataclasses
import inspect
import re
from typing import Any

import equinox as eqx
import jax

from frechet.core.problem import Problem
from frechet.core.solver import Solver
from frechet.workbench.checking.canonical import all_cases, cases_for


def check_declarations(solver: Solver) -> None:
    """``accepts``, ``needs``, ``stochastic``, ``converges`` and ``check_every`` are of the right kind."""
    kind = solver.accepts
    assert isinstance(kind, type) and issubclass(kind, Problem), (
        f"accepts is {kind!r}; name the kind of problem it takes, a subclass of frechet.Problem"
    )
    assert isinstance(solver.needs, frozenset), (
        f"needs is a {type(solver.needs).__name__}; make it a frozenset of oracle names"
    )
    for flag in ("stochastic", "converges"):
        value = getattr(solver, flag)
        assert isinstance(value, bool), f"{flag} is {value!r}; make it True or False"
    every = solver.check_every
    assert isinstance(every, int) and every >= 1, (
        f"check_every is {every!r}; make it a positive int, the steps between residual checks"
    )


def check_has_canonical_problem(solver: Solver) -> None:
    """Some problem with a known solution fits, so that the other checks mean something."""
    if cases_for(solver):
        return
    of_kind = [c.specimen for c in all_cases() if isinstance(c.specimen, solver.accepts)]
    offered = set().union(*(p.offers() for p in of_kind))
    unknown = sorted(set(solver.needs) - offered)
    assert not of_kind or not unknown, (
        f"needs {unknown}, which no canonical {solver.accepts.__name__} offers; they offer "
        f"{sorted(offered)}. Mend the spelling, or give the class a classmethod canonical() of cases"
    )
    raise AssertionError(
        f"no canonical problem fits {type(solver).__name__}: give the class a classmethod canonical() "
        "that returns frechet.workbench.checking.Case objects of its kind"
    )


def check_presets(solver: Solver) -> None:
    """``presets()`` gives instances of the class by name, each different from the others."""
    check_presets_of(type(solver))


def check_presets_of(cls: type[Solver]) -> None:
    """As `check_presets`, for the class alone."""
    try:
        presets = cls.presets()
    except Exception as error:
        raise AssertionError(
            f"{cls.__name__}.presets() raised {type(error).__name__}: {error}; give every field a default "
            "or override presets() to return ready-made instances by name"
        ) from error
    assert isinstance(presets, dict) and presets, "presets() must return a dict of at least one instance"
    for name, preset in presets.items():
        assert isinstance(name, str) and name, f"presets() has the key {name!r}; use a name"
        assert type(preset) is cls, f"preset {name} is {preset!r}; make it an instance of {cls.__name__}"
    reprs = [repr(p) for p in presets.values()]
    assert len(set(reprs)) == len(reprs), "two presets are the same solver; keep one of them"


def check_docstring(solver: Solver) -> None:
    """The class says where the method comes from and shows how to use it."""
    text = inspect.cleandoc(type(solver).__doc__ or "")
    for part, what in (("Source:", "the paper, its year and where to find it"), ("Example:", "a doctest")):
        assert part in text, f"the docstring of {type(solver).__name__} lacks '{part}' with {what}"
    example = text.split("Example:", 1)[1]
    assert ">>>" in example, "the docstring's Example: has no line that starts with >>>"
    assert re.search(r"\b1[789]\d\d\b|\b20\d\d\b", text), "the docstring's Source: names no year"


def check_pytree(solver: Solver) -> None:
    """It is a pytree of numbers with a hashable structure, prints, and survives flattening."""
    leaves, treedef = jax.tree.flatten(solver)
    odd = [v for v in leaves if not eqx.is_array_like(v)]
    assert not odd, f"leaves {odd!r} are not numbers or arrays; mark those fields eqx.field(static=True)"
    for field in dataclasses.fields(solver):
        if field.metadata.get("static"):
            _check_hashable(field.name, getattr(solver, field.name))
    again = jax.tree.unflatten(treedef, leaves)
    assert jax.tree.structure(again) == treedef and repr(again) == repr(solver), (
        "flattening and unflattening it gives another solver; keep everything in dataclass fields"
    )
    assert type(solver).__name__ in repr(solver), "its repr does not name its class"


def _check_hashable(name: str, value: Any) -> None:
    try:
        hash(value)
    except TypeError as error:
        raise AssertionError(
            f"the static field {name} cannot be hashed ({error}), so it could change under a compiled "
            "program; use a tuple instead of a list or dict"
        ) from None
