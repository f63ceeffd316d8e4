"""Any optax transformation as a PyTorch optimizer."""

import collections
import dataclasses
import functools
import inspect
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from frechet.solvers.wrappers.optax import Transformation

try:
    import torch
except ModuleNotFoundError:
    raise ModuleNotFoundError('frechet.interop.torch needs PyTorch: pip install "frechet[torch]"') from None

_WIDE = (torch.float64, torch.complex128)


class Optimizer(torch.optim.Optimizer):
    """A `torch.optim.Optimizer` whose step is an optax transformation, compiled by XLA.

    Parameters and gradients are read where PyTorch keeps them, and updates are added to the parameters in
    place; nothing is copied on a CPU, but for tensors that are not contiguous or not aligned to 64 bytes.
    The transformation's state stays in JAX. A step is compiled once for a group's shapes and constants.

    With a function that makes transformations, such as `frechet.optimizers.adan` or `optax.adamw`, each group
    has its own hyperparameters, and ``lr`` is the function's ``learning_rate``. A finished transformation has
    one, ``lr``, which multiplies its updates and is 1 at first. Either way ``torch.optim.lr_scheduler`` may
    change it. Other hyperparameters that are to change without a compilation are given as tensors.

    The closure's loss is given to transformations that ask for ``value``; those that ask for it as a function
    of the parameters, or for the inputs of layers, cannot be used.

    A parameter without gradient keeps its value and its part of the state; what the group's parameters share,
    such as the count of steps, goes on.

    Args:
        tx: an optax transformation, or a function that makes one.
        params: parameters, or groups: dictionaries with ``params``, hyperparameters, and ``tx`` where a group
            has a transformation of its own.
        hyperparameters: arguments of ``tx`` if that is a function, with ``lr`` for ``learning_rate``.

    Raises:
        TypeError: ``tx`` is neither, or does not take such a hyperparameter.

    Example:
        >>> import optax
        >>> import torch
        >>> w = torch.nn.Parameter(torch.tensor([3.0, -1.0]))
        >>> optimizer = Optimizer(optax.sgd, [w], lr=0.1)
        >>> (w**2).sum().backward()
        >>> optimizer.step()
        >>> w.data
        tensor([ 2.4000, -0.8000])
    """

    def __init__(self, tx: Any, params: Iterable[Any], **hyperparameters: Any):
        self._source = _Source.of(tx)
        self._sources: list[_Source] = []
        self._inner: list[Any] = []
        self._source.check(hyperparameters)
        super().__init__(params, {**self._source.defaults, **hyperparameters})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group, as PyTorch's optimizers do.

        Args:
            param_group: ``params``, hyperparameters, and ``tx`` if it has a transformation of its own.
        """
        if not isinstance(param_group, dict) or "tx" not in param_group:
            source = self._source
            super().add_param_group(param_group)
        else:
            source = _Source.of(param_group["tx"])
            given = {k: v for k, v in param_group.items() if k != "tx"}
            super().add_param_group({**source.defaults, **given})
            group = self.param_groups[-1]
            # the defaults that PyTorch filled in are another transformation's
            for name in self.defaults.keys() - source.defaults.keys() - given.keys():
                del group[name]
        source.transformation(*source.split(self.param_groups[-1]))  # what is wrong is said now
        self._sources.append(source)
        self._inner.append(None)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every parameter that has a gradient.

        Args:
            closure: computes the loss and its gradients anew; transformations that ask for ``value`` need it.

        Returns:
            What the closure returns.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for i, group in enumerate(self.param_groups):
            present = tuple(p.grad is not None for p in group["params"])
            if any(present):
                with _precision(group):
                    self._step_group(i, group, present, None if loss is None else float(loss))
        return loss

    def _step_group(
        self, i: int, group: dict[str, Any], present: tuple[bool, ...], value: float | None
    ) -> None:
        params = [_to_jax(p) for p in group["params"]]
        grads = [_to_jax(p.grad) for p in group["params"] if p.grad is not None]
        constants, inputs = self._sources[i].split(group)
        if self._inner[i] is None:
            self._inner[i] = self._begun(i)
        # The last updates are handed in to have their memory used again.
        state, updates = self._inner[i]
        self._inner[i] = jax.block_until_ready(
            _step(params, grads, state, updates, inputs, value, self._sources[i], constants, present)
        )
        for p, u in zip(group["params"], self._inner[i][1], strict=True):
            if p.grad is not None:
                p.add_(torch.from_dlpack(u))

    def _begun(self, i: int) -> tuple[PyTree[Array], list[Array]]:
        """The state before the first step, and room for updates."""
        group = self.param_groups[i]
        params = [_to_jax(p) for p in group["params"]]
        tx, _ = self._sources[i].transformation(*self._sources[i].split(group))
        # Copies: a state may hold the parameters themselves, which PyTorch will change, or one array twice.
        state = jax.tree.map(lambda v: jnp.array(v, dtype=jnp.asarray(v).dtype), tx.init(params))
        return state, jax.tree.map(jnp.zeros_like, params)

    def state_dict(self) -> dict[str, Any]:
        """As PyTorch's; under ``state`` a dictionary of tensors a group, by their place in optax's state."""
        state: Any = self.state
        state.update(self._packed())
        try:
            return super().state_dict()
        finally:
            state.clear()

    def _packed(self) -> dict[str, dict[str, torch.Tensor]]:
        return {_name(i): _to_tensors(inner[0]) for i, inner in enumerate(self._inner) if inner is not None}

    def __getstate__(self) -> dict[str, Any]:
        ours = {"_source": self._source, "_sources": self._sources, "state": self._packed()}
        return {**super().__getstate__(), **ours}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # PyTorch's way into an optimizer, of copies and of load_state_dict
        before = dict(self.__dict__)
        super().__setstate__(state)
        packed: Any = self.state
        self.state = collections.defaultdict(dict)
        self._inner = [None] * len(self.param_groups)
        try:
            for i, group in enumerate(self.param_groups):
                if _name(i) in packed:
                    with _precision(group):
                        fresh, updates = self._begun(i)
                        self._inner[i] = _from_tensors(packed[_name(i)], fresh, _name(i)), updates
        except ValueError:
            self.__dict__.update(before)
            raise


@dataclasses.dataclass(frozen=True)
class _Source:
    """Where a group's transformation comes from: it is finished, or made from the group's hyperparameters."""

    make: Any

    @classmethod
    def of(cls, tx: Any) -> "_Source":
        if hasattr(tx, "init") and hasattr(tx, "update"):
            return cls(Transformation(tx))
        if not callable(tx):
            raise TypeError(
                f"tx must be an optax transformation or a function that makes one, got {type(tx).__name__}"
            )
        return cls(tx)

    @property
    def arguments(self) -> Mapping[str, inspect.Parameter]:
        """What the function takes, by the name that a group gives it."""
        return {} if isinstance(self.make, Transformation) else _arguments(self.make)

    @property
    def defaults(self) -> dict[str, Any]:
        """A learning rate, which schedulers expect to find."""
        lr = self.arguments.get("lr")
        if lr is None:
            return {"lr": 1.0}
        return {} if lr.default is lr.empty else {"lr": lr.default}

    def check(self, hyperparameters: Mapping[str, Any]) -> None:
        known = {"lr": None, **self.arguments}
        unknown = [k for k in hyperparameters if k not in known]
        if unknown:
            name = "a finished transformation" if not self.arguments else self.make.__name__
            raise TypeError(f"{name} takes no {unknown[0]}, it takes {', '.join(known)}")

    def split(self, group: Mapping[str, Any]) -> tuple[tuple[tuple[str, Hashable], ...], dict[str, float]]:
        """A group's hyperparameters: constants of the compiled step, and numbers given to each."""
        found = {k: group[k] for k in ("lr", *self.arguments) if k in group}
        given = {
            k for k, v in found.items() if isinstance(v, torch.Tensor) or (k == "lr" and not callable(v))
        }
        constants = sorted((k, v) for k, v in found.items() if k not in given)
        return tuple(constants), {k: float(found[k]) for k in sorted(given)}

    def transformation(
        self, constants: Iterable[tuple[str, Any]], inputs: Mapping[str, Any]
    ) -> tuple[Any, Any]:
        """The transformation, and what its updates are multiplied by."""
        hyperparameters = {**dict(constants), **inputs}
        if isinstance(self.make, Transformation):
            return self.make, hyperparameters["lr"]
        factor = 1.0 if "lr" in self.arguments else hyperparameters.pop("lr")
        named = {"learning_rate" if k == "lr" else k: v for k, v in hyperparameters.items()}
        return optax.with_extra_args_support(self.make(**named)), factor


@functools.cache
def _arguments(make: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    found = inspect.signature(make).parameters
    return {"lr" if k == "learning_rate" else k: v for k, v in found.items()}


# `updates` is not read: its memory is. Not kept, it would be dropped before it could be donated. Without the
# analysis XLA copies states that another result reads, which costs more than the step itself.
@functools.partial(
    jax.jit,
    static_argnums=(6, 7, 8),
    donate_argnames=("state", "updates"),
    keep_unused=True,
    compiler_options={"xla_cpu_copy_insertion_use_region_analysis": True},
)
def _step(
    params: list[Array],
    grads: list[Array],
    state: PyTree[Array],
    updates: list[Array],
    inputs: dict[str, Any],
    value: Any,
    source: _Source,
    constants: tuple,
    present: tuple[bool, ...],
) -> tuple[PyTree[Array], list[Array]]:
    tx, factor = source.transformation(constants, inputs)
    rest = iter(grads)
    grads = [next(rest) if there else jnp.zeros_like(p) for p, there in zip(params, present, strict=True)]
    extra = {} if value is None else {"value": jnp.asarray(value), "grad": grads}
    updates, new = tx.update(grads, state, params, **extra)
    if not all(present):
        moved = optax.tree.map_params(
            tx,
            lambda v, there: v if _nothing(v) else there,
            state,
            list(present),
            transform_non_params=lambda _: True,
            is_leaf=_nothing,
        )
        new = jax.tree.map(lambda there, old, v: v if there else old, moved, state, new)
    updates = [(factor * u).astype(p.dtype) for u, p in zip(updates, params, strict=True)]
    # Copied, which costs nothing for what was computed: parameters and gradients are PyTorch's memory.
    return jax.tree.map(jnp.copy, (new, updates))


def _nothing(v: Any) -> bool:
    """What a state has in the place of a parameter that it leaves out."""
    return v is None or isinstance(v, optax.MaskedNode)


def _precision(group: Mapping[str, Any]) -> Any:
    """Double precision in JAX where a parameter of the group has it."""
    return jax.enable_x64(jax.config.read("jax_enable_x64") or any(p.dtype in _WIDE for p in group["params"]))


def _to_jax(t: torch.Tensor) -> Array:
    if t.layout is not torch.strided:
        raise TypeError(f"gradients of layout {t.layout} are not supported; use dense ones")
    return jnp.from_dlpack(t.detach().contiguous())


def _name(i: int) -> str:
    # PyTorch leaves alone what is kept under no parameter's number
    return f"group {i}"


def _is_key(v: Array) -> bool:
    return jnp.issubdtype(v.dtype, jax.dtypes.prng_key)


def _to_tensors(state: PyTree[Array]) -> dict[str, torch.Tensor]:
    """Copies, by path: the arrays themselves are given up in the next step."""
    leaves = jax.tree.leaves_with_path(state)
    plain = {jax.tree_util.keystr(k): jax.random.key_data(v) if _is_key(v) else v for k, v in leaves}
    return {k: torch.from_dlpack(v).clone() for k, v in plain.items()}


def _from_tensors(packed: Mapping[str, torch.Tensor], like: PyTree[Array], name: str) -> PyTree[Array]:
    def restore(path: Any, v: Array) -> Array:
        key = jax.tree_util.keystr(path)
        if key not in packed:
            raise ValueError(f"the saved state of {name} is another transformation's: it lacks {key}")
        saved = jnp.array(_to_jax(packed[key]))
        saved = jax.random.wrap_key_data(saved, impl=jax.random.key_impl(v)) if _is_key(v) else saved
        if saved.shape != v.shape:
            raise ValueError(f"the saved state of {name} has {key} of shape {saved.shape}, not {v.shape}")
        return saved

    if extra := packed.keys() - {jax.tree_util.keystr(k) for k, _ in jax.tree.leaves_with_path(like)}:
        raise ValueError(f"the saved state of {name} is another transformation's: it has {min(extra)} too")
    return jax.tree_util.tree_map_with_path(restore, like)
