"""Any Optax transformation as a Frechet solver."""

import functools
import inspect
import types
from collections.abc import Callable, Hashable
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
from frechet.core.space import Space
from frechet.optimizers.registry import declared
from frechet.problems.minimisation import Minimisation
from frechet.solvers.stochastic import sampling
from frechet.solvers.wrappers import handed
from frechet.solvers.wrappers.counted import precision_of, run_counted

SMOOTH = frozenset({"smooth"})


class OptaxState(State):
    """``inner`` is the transformation's own state."""

    inner: PyTree[Array]


@jax.tree_util.register_static
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
    if isinstance(v, jax.Array) and jnp.issubdtype(v.dtype, jax.dtypes.prng_key):
        return (str(v.dtype), _key(jax.random.key_data(v)))
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


class Made(eqx.Module):
    """A transformation made anew by ``factory(**settings)`` wherever it is used.

    Its numbers are leaves: another learning rate is no other program, and derivatives reach it.

    Args:
        factory: a function that returns an `optax.GradientTransformation`.
        settings: arguments for it, by name; floats and arrays among them may be traced.
    """

    factory: Callable[..., Any] = eqx.field(static=True)
    settings: dict[str, Any]

    def __check_init__(self):
        try:
            inspect.signature(self.factory).bind(**self.settings)
        except TypeError as error:
            raise TypeError(f"{self.factory.__name__}: {error}") from None
        Transformation(self.factory(**self.settings))

    @property
    def space(self) -> Space:
        """The hyperparameters that its factory declares worth tuning."""
        entry = declared(self.factory)
        return entry.space if entry else {}

    @property
    def needs(self) -> frozenset[str]:
        """The oracles that its factory declares it cannot do without."""
        entry = declared(self.factory)
        return entry.needs if entry else SMOOTH

    def init(self, params: PyTree[Array]) -> PyTree[Array]:
        """The transformation's state."""
        return self.factory(**self.settings).init(params)

    def update(
        self, updates: PyTree[Array], state: PyTree[Array], params: PyTree[Array], **extra_args: Any
    ) -> tuple:
        """The transformation's update."""
        tx = optax.with_extra_args_support(self.factory(**self.settings))
        return tx.update(updates, state, params, **extra_args)

    def __repr__(self) -> str:
        return f"{self.factory.__name__}({', '.join(f'{k}={v!r}' for k, v in self.settings.items())})"


class Optax(Solver):
    r"""Any Optax transformation on a smooth problem in free variables, an update a step.

    $$u_t, m_{t+1} = \mathrm{update}(\nabla f(x_t), m_t, x_t), \qquad x_{t+1} = x_t + u_t$$

    Transformations that ask for more are given ``value``, ``grad`` and ``value_fn``, so that line searches,
    L-BFGS and Polyak steps work, and what else the problem has for them (``layer_input``). Where a line
    search keeps the value and gradient of the point it accepted, they are not computed again. What a
    transformation evaluates of its own accord is counted, in loops and conditionals as often as it is made.

    Args:
        tx: an `optax.GradientTransformation`, with its learning rate. `Optax.of` makes one whose
            hyperparameters may change without recompilation.
        batch_size: terms a step, drawn with replacement from a problem that can be sampled; the problem's
            own, or the whole sum, when left out. With a constant learning rate batches do not converge.

    Raises:
        TypeError: ``tx`` is no transformation.

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

    accepts: ClassVar[type] = Minimisation
    converges: ClassVar[bool] = False
    tx: Any = eqx.field(
        converter=lambda tx: tx if isinstance(tx, Transformation | Made) else Transformation(tx)
    )
    batch_size: int | None = eqx.field(default=None, static=True)

    def __check_init__(self):
        if self.batch_size is not None:
            sampling.check_batch_size(self.batch_size)

    @classmethod
    def of(cls, factory: Callable[..., Any], **settings: Any) -> "Optax":
        """The solver by ``factory(**settings)``, made where it is used: its numbers may be traced.

        Args:
            factory: a function that returns an `optax.GradientTransformation`.
            **settings: its arguments.

        Raises:
            TypeError: the factory does not take them.

        Example:
            >>> import jax, jax.numpy as jnp
            >>> import frechet as fr
            >>> problem = fr.Composite(lambda x: jnp.sum((x - 1) ** 2))
            >>> end = lambda rate: fr.solve(
            ...     problem, jnp.zeros(()), Optax.of(optax.sgd, learning_rate=rate), max_steps=3, tol=0.0
            ... ).x
            >>> jax.vmap(end)(jnp.array([0.25, 0.5])).tolist()
            [0.875, 1.0]
        """
        return cls(Made(factory, settings))

    @property
    def space(self) -> Space:
        """The hyperparameters worth tuning, where the factory of `of` declares any."""
        return getattr(self.tx, "space", {})

    def tuned(self, **settings: Any) -> "Optax":
        """With other hyperparameters, for a solver made by `of`."""
        return Optax(Made(self.tx.factory, {**self.tx.settings, **settings}), self.batch_size)

    @property
    def needs(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """A smooth objective unless declared otherwise; with batches one that can be sampled."""
        needs = getattr(self.tx, "needs", SMOOTH)
        return needs if self.batch_size is None else needs | {"sample"}

    @property
    def stochastic(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether batches are drawn of its own accord."""
        return self.batch_size is not None

    def init(self, problem: Minimisation, x0: PyTree[Array], *, key: PRNGKeyArray) -> OptaxState:
        with precision_of(x0):
            inner = self.tx.init(x0)
        return OptaxState(x0, Calls(), jax.tree.map(jnp.asarray, inner))

    def step(self, problem: Minimisation, state: OptaxState, *, key: PRNGKeyArray) -> OptaxState:
        x = state.x
        batch_size = problem.batch_size if self.batch_size is None else self.batch_size
        if batch_size is None:
            indices = None
            value, gradient, fresh = _reused(problem, x, state.inner)
            calls = state.calls.add(value=fresh, gradient=fresh)
            value_fn = lambda y: handed.value(problem, y)  # noqa: E731
        else:
            indices = sampling.draw(key, problem, 1, batch_size)[0]
            value, gradient = problem.sample_value_and_gradient(x, indices)  # pyright: ignore
            calls = state.calls.add(sample=batch_size)
            value_fn = lambda y: handed.sampled_value(problem, indices, y)  # noqa: E731
        more = problem.update_arguments(x, indices)

        def update(x: PyTree[Array], inner: PyTree[Array]) -> tuple:
            updates, inner = self.tx.update(
                gradient, inner, x, value=value, grad=gradient, value_fn=value_fn, **more
            )
            return optax.apply_updates(x, updates), inner

        with precision_of(x):
            (x, inner), counts = run_counted(update, x, state.inner)
        x, inner = handed.same_types((x, inner), (state.x, state.inner))
        return OptaxState(x, calls.add(**counts), inner)

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


def _reused(problem: Minimisation, x: PyTree[Array], inner: PyTree[Array]) -> tuple:
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
