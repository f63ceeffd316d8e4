"""A problem that counts its oracle calls while the program runs."""

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from frechet.core import loop
from frechet.core.problem import Problem
from frechet.core.solve import join, prepare, split
from frechet.core.solver import Solver, State
from frechet.workbench.checking.canonical import Case
from frechet.workbench.checking.common import FEW, key

COUNTED = ("value", "gradient", "hvp", "prox", "sample", "sample_hvp", "outer_gradient", "outer_sample")
# Watched where the kind has a method for them: elsewhere a solver may work on matrices or sets itself.
COUNTED_BY = {"matvec": ("forward", "best_g"), "linear_min": ("linear_min",)}


def _map_cost(problem: Problem) -> dict[str, int]:
    """What one evaluation of the optimality map costs."""
    return {"gradient": 1, "prox": 1} if "prox" in problem.offers() else {"value": 1}


def _terms(whole: str, one: str) -> Callable[..., dict[str, int]]:
    """The cost of an oracle that takes indices of terms last, or None for all of them."""

    def cost(problem: Problem, *args: Any) -> dict[str, int]:
        indices = args[-1] if len(args) and eqx.is_array(args[-1]) and _integer(args[-1]) else None
        return {whole: 1} if indices is None else {one: indices.size}

    return cost


def _blocks(one: str) -> Callable[..., dict[str, int]]:
    """The cost of an oracle that takes blocks and, a row each, indices of their terms, or None for all."""

    def cost(problem: Any, *args: Any) -> dict[str, int]:
        *_, blocks, indices = args
        count = problem.outer_count if one.startswith("outer") else problem.inner_count
        return {one: blocks.size * count if indices is None else indices.size}

    return cost


def _block_hessians(problem: Problem, x: Any, y: Any, blocks: Array, indices: Any) -> dict[str, int]:
    """As many products as a block has unknowns."""
    unknowns = sum(v.size for v in jax.tree.leaves(y)) // blocks.size
    return {k: unknowns * n for k, n in _blocks("sample_hvp")(problem, blocks, indices).items()}


def _integer(v: Array) -> bool:
    return jnp.issubdtype(v.dtype, jnp.integer)


# What a call of each oracle method costs; methods that a kind does not have are not looked at.
_COSTS: dict[str, Callable[..., dict[str, int]]] = {
    "value": lambda problem, x: {"value": 1},
    "gradient": lambda problem, x: {"gradient": 1},
    "value_and_gradient": lambda problem, x: {"value": 1, "gradient": 1},
    "hvp": lambda problem, x, v: {"hvp": 1},
    "prox": lambda problem, x, step: {"prox": 1},
    "outer_prox": lambda problem, z, step: {"prox": 1},
    "dual_prox": lambda problem, u, step: {"prox": 1},
    "potential": lambda problem, x: {"value": 1},
    "potential_and_gradient": lambda problem, x: {"value": 1, "gradient": 1},
    "left_envelope_gradient": lambda problem, geometry, x, step: {"prox": 1},
    "right_envelope_gradient": lambda problem, geometry, x, step: {"prox": 1},
    "bregman_step": lambda problem, geometry, x, gradient, step: {"prox": 1},
    "forward": lambda problem, x: {"matvec": 1},
    "adjoint": lambda problem, u, x: {"matvec": 1},
    "best_f": lambda problem, g: {"matvec": 1},
    "best_g": lambda problem, f: {"matvec": 1},
    "marginals": lambda problem, x: {"matvec": 2},
    "plan": lambda problem, x: {"matvec": 1},
    "product": lambda problem, P, v: {"matvec": 1},
    "transposed_product": lambda problem, P, u: {"matvec": 1},
    "linear_min": lambda problem, direction: {"linear_min": 1},
    "vertex_products": lambda problem, direction: {"linear_min": 1},
    "outer_value": lambda problem, *_: {"value": 1},
    "inner_value": lambda problem, *_: {"value": 1},
    "outer_gradients": _terms("outer_gradient", "outer_sample"),
    "inner_gradient": _terms("gradient", "sample"),
    "inner_gradients": _terms("gradient", "sample"),
    "inner_hvp": _terms("hvp", "sample_hvp"),
    "inner_products": _terms("hvp", "sample_hvp"),
    "block_outer_gradients": _blocks("outer_sample"),
    "block_gradients": _blocks("sample"),
    "block_products": _blocks("sample_hvp"),
    "block_hessians": _block_hessians,
    "inner_prox": lambda problem, y, step: {"prox": 1},
    "joint_prox": lambda problem, x, y: {"prox": 1},
    "constraints": lambda problem, x, y: {"value": 1},
    "constrained_gradients": lambda problem, *_: {"gradient": 1},
    "operator": lambda problem, z: {"gradient": 1},
    "expectation": lambda problem, x: {"value": 1, "gradient": 1, "jacobian": 1},
    "sampled_expectation": lambda problem, x, noise: {"sample": len(noise)},
    "expectation_from_gradients": lambda problem, x, noise: {"sample": len(noise)},
    "sample_operator": lambda problem, z, indices: {"sample": indices.size},
    "lagrangian_gradient": lambda problem, z: {"gradient": 1},
    "lagrangian_hvp": lambda problem, z, v: {"hvp": 1},
    "sample_value_and_gradient": lambda problem, x, indices: {"sample": indices.size},
    "residual": lambda problem, x: {"value": 1},
    "apply": lambda problem, x: {"value": 1},
    "optimality": lambda problem, x: _map_cost(problem),
}
# Which argument of a product, the problem being the first, is the vector.
_VECTOR = {"hvp": 2, "lagrangian_hvp": 2, "inner_hvp": 3, "inner_products": 3, "block_products": 3}
# Functions that a solver may differentiate itself: a gradient of a scalar, a product with a Jacobian.
_DIFFERENTIATED = {
    "value": "gradient",
    "residual": "hvp",
    "apply": "hvp",
    "operator": "hvp",
    "optimality": "hvp",
}


def instrumented(problem: Problem) -> tuple[Problem, Counter]:
    """The problem as an instance of a subclass that counts, and what it counted so far.

    Counts are made when the program runs, by host callbacks, so loops count every turn. A method that
    calls another counts once, as itself.

    Example:
        >>> import frechet as fr
        >>> problem, seen = instrumented(fr.Composite(lambda x: jnp.sum(x**2)))
        >>> _ = jax.jit(problem.gradient)(jnp.ones(2)); jax.effects_barrier(); dict(seen)
        {'gradient': 1}
    """
    kind, seen = type(problem), Counter()

    def tick(operands: PyTree[Array], **counts: int) -> None:
        # The operands tie the callback to its data, so that vmap repeats it for every member.
        first = [jnp.ravel(v)[:1] for v in jax.tree.leaves(operands)]
        jax.debug.callback(lambda *_: seen.update(counts), *first)

    def method(name: str, cost: Callable[..., dict[str, int]]) -> Callable:
        original, derivative = getattr(kind, name), _DIFFERENTIATED.get(name)

        @eqx.filter_custom_jvp
        def counted(plain: Problem, *args: Any) -> Any:
            tick(args, **cost(plain, *args))
            return original(plain, *args)

        @counted.def_jvp
        def rule(primals: tuple, tangents: tuple) -> tuple:
            vector = tangents[_VECTOR[name]] if name in _VECTOR else None
            if jax.tree.leaves(vector):
                # Linearised in its vector: what costs is each product with the linear map, not making it.
                tick(vector, **cost(*primals))
            else:
                tick(primals[1:], **cost(*primals))
            if derivative and jax.tree.leaves(tangents[1]):
                tick(tangents[1] if derivative == "hvp" else primals[1:], **{derivative: 1})
            return eqx.filter_jvp(original, primals, tangents)

        return lambda self, *args: counted(_plain(kind, self), *args)

    methods = {name: method(name, cost) for name, cost in _COSTS.items() if hasattr(kind, name)}
    metaclass: Any = type(kind)
    subclass = metaclass(f"Counting{kind.__name__}", (kind,), methods)
    return _plain(subclass, problem), seen


def _plain(kind: Any, problem: Problem) -> Problem:
    """The same fields as an instance of another class."""
    copy: Any = object.__new__(kind)  # pyright: ignore
    for field in dataclasses.fields(problem):
        object.__setattr__(copy, field.name, getattr(problem, field.name))
    return copy


def counted_steps(solver: Solver, case: Case) -> tuple[State, State, dict[str, int]]:
    """The first state, those after each of a few steps (stacked, by one scan), and what the problem saw."""
    problem, x0, solver = prepare(case.problem(), case.start(), solver)
    problem, seen = instrumented(problem)
    dynamic, static = split((problem, x0, solver))

    @jax.jit
    def steps(dynamic: list) -> tuple[State, State]:
        problem, x0, solver = join(static, dynamic)
        begun = loop.begin(problem, x0, solver, key())

        def turn(progress: loop.Progress, _: None) -> tuple[loop.Progress, State]:
            progress = loop.one_step(problem, solver, progress, key(), FEW)
            return progress, progress.state

        return begun.state, jax.lax.scan(turn, begun, None, length=FEW)[1]

    first, states = jax.block_until_ready(steps(dynamic))
    jax.effects_barrier()
    watched = (k for k, methods in COUNTED_BY.items() if any(hasattr(problem, m) for m in methods))
    return first, states, {k: seen[k] for k in (*COUNTED, *watched)}


class Steps:
    """`counted_steps` of a solver on a case, run once for all checks that look at them."""

    def __init__(self, solver: Solver, case: Case):
        self.solver, self.case = solver, case

    @functools.cached_property
    def taken(self) -> tuple[State, State, dict[str, int]]:
        """What `counted_steps` returns."""
        return counted_steps(self.solver, self.case)
