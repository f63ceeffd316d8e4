"""Between pytrees of JAX arrays and SciPy's vectors, and SciPy's runs within compiled programs or without."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.experimental import io_callback
from jaxtyping import Array
from scipy.optimize import LbfgsInvHessProduct

from frechet.core.solve import join, split
from frechet.solvers.wrappers import dialogue
from frechet.solvers.wrappers.crossing import crossing


class PyTreeTopology(NamedTuple):
    """The form of a pytree of arrays.

    Attributes:
        treedef: its structure.
        shapes: of its leaves.
        dtypes: of its leaves.
    """

    treedef: Any
    shapes: Sequence[tuple[int, ...]]
    dtypes: Sequence[Any]

    @property
    def sizes(self) -> list[int]:
        """How many entries each leaf has."""
        return [int(np.prod(shape)) for shape in self.shapes]

    @property
    def n_leaves(self) -> int:
        """How many leaves there are."""
        return len(self.shapes)


def pytree_topology_from_example(x_jnp: Any) -> PyTreeTopology:
    """The form of a pytree."""
    leaves, treedef = jax.tree.flatten(x_jnp)
    return PyTreeTopology(treedef, [jnp.shape(v) for v in leaves], [jnp.result_type(v) for v in leaves])


def jnp_to_onp(x_jnp: Any, dtype: Any = np.float64) -> np.ndarray:
    """All leaves in one NumPy vector, of a dtype unless that is None."""
    return np.concatenate([np.asarray(v, dtype).reshape(-1) for v in jax.tree.leaves(x_jnp)])


def make_onp_to_jnp(pytree_topology: PyTreeTopology) -> Callable[[Any], Any]:
    """The inverse of `jnp_to_onp` for pytrees of that form."""
    ends = np.cumsum(pytree_topology.sizes)[:-1]

    def onp_to_jnp(x_onp: Any) -> Any:
        return unflattened(pytree_topology, jnp.split(jnp.asarray(x_onp), ends))

    return onp_to_jnp


def unflattened(topology: PyTreeTopology, parts: Sequence[Any]) -> Any:
    """A pytree of that form, of its leaves as vectors."""
    forms = zip(parts, topology.shapes, topology.dtypes, strict=True)
    return jax.tree.unflatten(topology.treedef, [v.reshape(s).astype(d) for v, s, d in forms])


def make_jac_jnp_to_onp(
    input_pytree_topology: PyTreeTopology, output_pytree_topology: PyTreeTopology, dtype: Any = np.float64
) -> Callable[[Any], np.ndarray]:
    """A function from Jacobians as `jax.jacrev` returns them to matrices, of a dtype unless that is None."""
    columns = input_pytree_topology.sizes

    def jac_jnp_to_onp(jac_pytree: Any) -> np.ndarray:
        leaves = iter(jax.tree.leaves(jac_pytree))
        rows = output_pytree_topology.sizes
        return np.block([[np.asarray(next(leaves), dtype).reshape(m, n) for n in columns] for m in rows])

    return jac_jnp_to_onp


@jax.tree_util.register_pytree_node_class
class LbfgsInvHessProductPyTree(LbfgsInvHessProduct):
    """L-BFGS's approximation of the inverse Hessian by its pairs, a linear operator and a pytree.

    Args:
        sk: moves, one a row; rows of zeros (of which there are some under ``jit``) stand for no pair.
        yk: the changes of gradient that belong to them.
    """

    def __init__(self, sk: Any, yk: Any):
        if sk.shape != yk.shape or sk.ndim != 2:
            raise ValueError(f"sk and yk must have the same shape (pairs, n), got {sk.shape} and {yk.shape}")
        self.sk, self.yk = sk, yk

    # What follows from the pairs, which may be anything while JAX takes the pytree apart.

    @property
    def n_corrs(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """How many pairs there are."""
        return self.sk.shape[0]

    @property
    def shape(self) -> tuple[int, int]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """(n, n)."""
        return self.sk.shape[1], self.sk.shape[1]

    @property
    def dtype(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """That of the pairs."""
        return self.sk.dtype

    @property
    def rho(self) -> Array:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The inverses of the pairs' inner products; 0 for no pair."""
        products = jnp.sum(self.sk * self.yk, axis=1)
        return jnp.where(products == 0, 0, 1 / jnp.where(products == 0, 1, products))

    def __repr__(self) -> str:
        return f"LbfgsInvHessProduct(sk={self.sk}, yk={self.yk})"

    def tree_flatten(self) -> tuple:
        """The pairs are the leaves."""
        return (self.sk, self.yk), None

    @classmethod
    def tree_unflatten(cls, _: Any, children: tuple) -> "LbfgsInvHessProductPyTree":
        """As `tree_flatten` took it apart."""
        operator = object.__new__(cls)
        operator.sk, operator.yk = children
        return operator


# ------------------------------------------------------------------ runs

Fields = dict[str, Any]


class Call(NamedTuple):
    """A call of one of SciPy's functions, with what it evaluates.

    Attributes:
        drive: ``drive(start, lower, upper, ask)`` makes the call and returns the fields of its result, ``x``
            among them; ``ask(k, z)`` evaluates ``programs[k]`` at a vector.
        programs: ``program(parts, z)``, with the parts that `made` is given, to a vector.
        form: shapes and dtypes of the fields.
        longest: entries of the longest answer.
    """

    drive: Callable
    programs: Sequence[Callable]
    form: dict[str, jax.ShapeDtypeStruct]
    longest: int


def made(call: Call, evaluate: Callable, parts: Any, start: Array, lower: Array, upper: Array) -> Fields:
    """The fields of the result; directly, or, where anything is traced, as part of the compiled program.

    Args:
        call: the call.
        evaluate: ``evaluate(program, parts, z)``; whether to compile is its business.
        parts: whatever the programs need, a pytree.
        start: where it starts, a vector.
        lower: lower bounds, a vector.
        upper: upper bounds, a vector.
    """
    dynamic, static = split((parts, start, lower, upper))
    if not any(isinstance(v, Tracer) for v in (*dynamic, jnp.zeros(()))):
        ask = lambda k, z: np.asarray(evaluate(call.programs[k], parts, jnp.asarray(z)), float)  # noqa: E731
        vectors = [np.array(v, float) for v in (start, lower, upper)]
        fields = call.drive(*vectors, ask)
        with np.errstate(over="ignore"):
            return {name: jnp.asarray(np.asarray(fields[name], s.dtype)) for name, s in call.form.items()}

    # A batch's members one after another: each run lives for itself, and none waits for another.
    @jax.custom_batching.sequential_vmap
    def within(*dynamic: Array) -> Fields:
        return _within(call, *join(static, list(dynamic)))

    return within(*(jnp.asarray(v) for v in dynamic))


def _within(call: Call, parts: Any, start: Array, lower: Array, upper: Array) -> Fields:
    results: dict[bytes, Fields] = {}
    form = dialogue.form(start)

    def begin(*vectors: np.ndarray) -> dialogue.Reply:
        fields: Fields = {}

        def drive(start, lower, upper, ask, report):
            fields.update(call.drive(start, lower, upper, ask))
            return fields["x"]

        reply = dialogue.begin(drive, *vectors)
        results[reply.digest.tobytes()] = fields
        return reply

    def end(digest: np.ndarray) -> Fields:
        dialogue.end(digest)
        fields = results.pop(digest.tobytes())
        # A method that raised on NaN has none.
        missing = {n: np.full(s.shape, np.nan if s.dtype.kind == "f" else 0) for n, s in call.form.items()}
        with np.errstate(over="ignore"):
            return {n: np.asarray((fields or missing)[n], s.dtype) for n, s in call.form.items()}

    def turn(reply: dialogue.Reply) -> dialogue.Reply:
        def answered(program: Callable, z: Array) -> Array:
            answer = program(parts, z).astype(start.dtype)
            return jnp.pad(answer, (0, call.longest - answer.size))

        branches = [functools.partial(answered, program) for program in call.programs]
        answer = jax.lax.switch(reply.query, branches, reply.point)
        return crossing(io_callback, dialogue.tell, form, start, reply.digest, answer)

    begun = crossing(io_callback, begin, form, start, lower, upper)
    reply = jax.lax.while_loop(lambda reply: reply.query >= 0, turn, begun)
    return crossing(io_callback, end, call.form, reply.digest)
