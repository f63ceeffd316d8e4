"""Any Optax transformation as a Frechet solver."""

import functools
import types
from collections.abc import Hashable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jaxtyping import Array, PRNGKeyArray, PyTree

from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.composite import Composite
from frechet.solvers.stochastic import sampling
from frechet.solvers.wrappers import handed
from frechet.solvers.wrappers.counted import precision_of, run_counted


class OptaxState(State):
    """``inner`` is the transformation's own state."""

    inner: PyTree[Array]


class Transformation:
    """An Optax transformation, equal to another made by the same code with the same numbers.

    Optax makes transformations of fresh closures. Compared by identity, each ``optax.adam(1e-2)`` would
    compile the whole solve again.
    """

    def __init__(self, tx: Any):
        if not (hasattr(tx, "init") and hasattr(tx, "update")):
            raise TypeError(f"tx must be an optax.GradientTransformation, got {type(tx).__name__}")
        tx = optax.with_extra_args_support(tx)
        self.init, self.update = tx.init, tx.update
        self._key = _key((tx.init, tx.update))
        self._hash = hash(self._key)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Transformation) and self._key == other._key

    def __repr__(self) -> str:
        return _describe(self.update)


def _cells(fn: types.FunctionType) -> dict[str, Any]:
    names = (*fn.__code__.co_freevars, "defaults", "keywords")
    values = (*(c.cell_contents for c in fn.__closure__ or ()), fn.__defaults__, fn.__kwdefaults__)
    return dict(zip(names, values, strict=True))


def _key(v: Any) -> Hashable:
    """What a closure computes, as a hashable; what cannot be looked into stands for itself."""
    if isinstance(v, types.FunctionType):
        return (v.__code__, *(_key(c) for c in _cells(v).values()))
    if isinstance(v, functools.partial):
        return (functools.partial, _key(v.func), _key(v.args), _key(v.keywords))
    if isinstance(v, tuple | list):
        return (type(v), *map(_key, v))
    if isinstance(v, dict):
        return (dict, *((k, _key(u)) for k, u in v.items()))
    if isinstance(v, np.ndarray | np.generic | jax.Array) and not isinstance(v, Tracer):
        array = np.asarray(v)
        return (str(array.dtype), array.shape, array.tobytes())
    try:
        hash(v)
    except TypeError:
        return id(v)
    return (type(v), v)


def _describe(v: Any) -> str:
    """A closure as the call that made it, in so far as it shows."""
    if isinstance(v, types.FunctionType):
        inner = {k: u for k, u in _cells(v).items() if u not in (None, (None,))}
        name = v.__qualname__.split(".<locals>")[0]
        return f"{name}({', '.join(f'{k}={_describe(u)}' for k, u in inner.items())})"
    if isinstance(v, optax.GradientTransformation):
        return _describe(v.update)
    if isinstance(v, tuple | list):
        return f"[{', '.join(map(_describe, v))}]"
    return v.__name__ if isinstance(v, type | types.ModuleType) else repr(v)


class Optax(Solver):
    r"""Any Optax transformation on a smooth `Composite`, an update a step.

    $$u_t, m_{t+1} = \mathrm{update}(\nabla f(x_t), m_t, x_t), \qquad x_{t+1} = x_t + u_t$$

    Transformations that ask for more are given ``value``, ``grad`` and ``value_fn``, so that line searches,
    L-BFGS and Polyak steps work. Where a line search keeps the value and gradient of the point it
    accepted, they are not computed again. Its trials are counted.

    Args:
        tx: an `optax.GradientTransformation`, with its learning rate.
        batch_size: terms a step, drawn with replacement from a problem that can be sampled; the whole sum
            when left out. With a constant learning rate batches do not converge.

    Raises:
        TypeError: ``tx`` is no transformation, or calls the objective in a loop of unknown length.

    Source:
        DeepMind et al. 2020, The DeepMind JAX ecosystem, github.com/google-deepmind/optax.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import frechet as fr
        >>> problem = fr.Composite(lambda x: jnp.sum((x - 1) ** 4 + x**2))
        >>> fr.solve(problem, jnp.zeros(2), Optax(optax.lbfgs()), tol=1e-3).x.round(2).tolist()
        [0.4099999964237213, 0.4099999964237213]
    """

    accepts: ClassVar[type] = Composite
    converges: ClassVar[bool] = False
    tx: Any = eqx.field(
        static=True, converter=lambda tx: tx if isinstance(tx, Transformation) else Transformation(tx)
    )
    batch_size: int | None = eqx.field(default=None, static=True)

    def __check_init__(self):
        if self.batch_size is not None:
            sampling.check_batch_size(self.batch_size)

    @property
    def needs(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """A smooth objective; with batches one that can be sampled."""
        return frozenset({"smooth"} if self.batch_size is None else {"smooth", "sample"})

    @property
    def stochastic(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether batches are drawn."""
        return self.batch_size is not None

    def init(self, problem: Composite, x0: PyTree[Array], *, key: PRNGKeyArray) -> OptaxState:
        with precision_of(x0):
            inner = self.tx.init(x0)
        return OptaxState(x0, Calls(), jax.tree.map(jnp.asarray, inner))

    def step(self, problem: Composite, state: OptaxState, *, key: PRNGKeyArray) -> OptaxState:
        x = state.x
        if self.batch_size is None:
            value, gradient, fresh = _reused(problem, x, state.inner)
            calls = state.calls.add(value=fresh, gradient=fresh)
            value_fn = lambda y: handed.value(problem, y)  # noqa: E731
        else:
            indices = sampling.draw(key, problem, 1, self.batch_size)[0]
            value, gradient = problem.sample_value_and_gradient(x, indices)
            calls = state.calls.add(sample=self.batch_size)
            value_fn = lambda y: handed.sampled_value(problem, indices, y)  # noqa: E731

        def update(x: PyTree[Array], inner: PyTree[Array]) -> tuple:
            updates, inner = self.tx.update(gradient, inner, x, value=value, grad=gradient, value_fn=value_fn)
            return optax.apply_updates(x, updates), inner

        with precision_of(x):
            (x, inner), counts, per_turn = run_counted(update, x, state.inner)
        calls = calls.add(**counts)
        if per_turn:
            trials = _entries(inner, "num_linesearch_steps")
            if not trials:
                raise TypeError(
                    f"{self.tx!r} calls the objective in a loop and does not say how often, so its calls "
                    "cannot be counted; use one whose state has num_linesearch_steps"
                )
            calls = calls.add(**{k: n * sum(trials) for k, n in per_turn.items()})
        x, inner = handed.same_types((x, inner), (state.x, state.inner))
        return OptaxState(x, calls, inner)

    @classmethod
    def presets(cls) -> dict[str, Solver]:
        return {
            "Optax:adam": cls(optax.adam(1e-2)),
            "Optax:lbfgs": cls(optax.lbfgs()),
            "Optax:sgd-momentum": cls(optax.sgd(1e-2, momentum=0.9, nesterov=True)),
            "Optax:sgd-line-search": cls(
                optax.chain(
                    optax.sgd(1.0),
                    optax.scale_by_backtracking_linesearch(max_backtracking_steps=30),
                )
            ),
            "Optax:adam-minibatch": cls(optax.adam(1e-2), batch_size=32),
        }


def _entries(inner: PyTree[Array], name: str) -> list[Any]:
    """The entries of that name anywhere in a transformation's state."""
    return [v for _, v in optax.tree_utils.tree_get_all_with_path(inner, name)]


def _reused(problem: Composite, x: PyTree[Array], inner: PyTree[Array]) -> tuple:
    """Value, gradient and whether they were computed: a line search may have left them in its state."""
    values, gradients = _entries(inner, "value"), _entries(inner, "grad")
    kept = _entries(inner, "num_linesearch_steps") and len(values) == 1 and len(gradients) == 1
    if not kept or gradients[0] is None:
        return *problem.value_and_gradient(x), 1
    fresh = ~jnp.isfinite(values[0])
    value, gradient = jax.lax.cond(
        fresh, lambda: problem.value_and_gradient(x), lambda: (values[0], gradients[0])
    )
    return value, gradient, fresh.astype(int)
