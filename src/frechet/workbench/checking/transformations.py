"""Checks of optimizers: what a user of optax expects of any transformation, and that it minimises."""

import functools
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Scalar

from frechet.optimizers.registry import Optimizer, declared
from frechet.workbench.checking.common import compilations, different, finite, shapes

Params = Any  # a pytree of arrays, by names that the checks know

UPDATES = 3
"""Updates in checks that compare update by update."""
STEPS = 300
"""Updates within which a quadratic has to be minimised, with the best of a few learning rates."""


def parameters(entry: Optimizer, dtype: Any = jnp.float32) -> Params:
    """Weights of every rank that layers have: dense, convolutional, a bias, a scalar."""
    rng = np.random.default_rng(0)

    def layer(sign: float) -> dict:
        forms = {"kernel": (4, 3), "filters": (2, 2, 3, 4), "bias": (3,), "scale": ()}
        return {k: jnp.asarray(sign + rng.normal(size=s), dtype) for k, s in forms.items()}

    if "players" in entry.needs:
        return {"minimiser": layer(1.0), "maximiser": layer(-1.0)}
    return {"one": layer(1.0), "two": layer(-1.0)}


def loss(entry: Optimizer, params: Params) -> Scalar:
    """A quadratic with its minimum (its saddle point, between players) at 0.5, and curvatures from 1 to 4."""

    def of(layer: Params) -> Any:
        return sum(0.5 * c * jnp.sum((layer[k] - 0.5) ** 2) for c, k in enumerate(sorted(layer), 1))

    if "players" in entry.needs:
        return of(params["minimiser"]) - of(params["maximiser"])
    return of(params["one"]) + of(params["two"])


def _arguments(entry: Optimizer, params: Params) -> dict[str, Any]:
    """What a training loop passes besides gradients, state and parameters."""
    of = functools.partial(loss, entry)
    value, grad = jax.value_and_grad(of)(params)
    given = {"value": value, "grad": grad, "value_fn": of}
    if "layer inputs" in entry.needs:
        rows = jnp.asarray(np.random.default_rng(1).normal(size=(6, 4)), params["one"]["kernel"].dtype)
        nothing = jax.tree.map(lambda _: None, params)
        given["layer_input"] = {**nothing, "one": {**nothing["one"], "kernel": rows}}
    return given


def _update(entry: Optimizer, tx: Any, params: Params, state: Any) -> tuple:
    """One update; returns parameters, state and the update itself."""
    given = _arguments(entry, params)
    updates, state = optax.with_extra_args_support(tx).update(given["grad"], state, params, **given)
    return optax.apply_updates(params, updates), state, updates


def _loop(entry: Optimizer, settings: dict[str, Any], params: Params, n: Any) -> tuple:
    """``n`` updates in a compiled loop, with traced settings."""
    tx = _make(entry, **settings)

    def body(_: Any, carry: tuple) -> tuple:
        return _update(entry, tx, *carry)[:2]

    return jax.lax.fori_loop(0, n, body, (params, jax.tree.map(jnp.asarray, tx.init(params))))


def _defaults(entry: Optimizer) -> dict[str, Any]:
    return {k: p.default for k, p in inspect.signature(entry.factory).parameters.items() if k in entry.space}


def _numbers(entry: Optimizer) -> dict[str, float]:
    """The float hyperparameters of the space, at their defaults."""
    return {k: v for k, v in _defaults(entry).items() if isinstance(v, float)}


def _structure(entry: Optimizer) -> dict[str, Any]:
    """What is no number (the size of a window, say), at the first of its choices."""
    return {k: entry.space[k].at(0.0) for k, v in _defaults(entry).items() if not isinstance(v, float)}


def _make(entry: Optimizer, **settings: Any) -> Any:
    return entry.factory(**{**_structure(entry), **settings})


class Checked:
    """An optimizer under check; its compiled loop is shared by those checks that run it."""

    def __init__(self, entry: Optimizer):
        self.entry = entry
        self.loop = jax.jit(functools.partial(_loop, entry))

    def eagerly(self, tx: Any, n: int = UPDATES, params: Params | None = None) -> Params:
        """The parameters after ``n`` updates outside jit."""
        params = parameters(self.entry) if params is None else params
        state = tx.init(params)
        for _ in range(n):
            params, state, _ = _update(self.entry, tx, params, state)
        return params

    @functools.cached_property
    def once(self) -> Params:
        """The parameters after one update outside jit, at the defaults."""
        return self.eagerly(_make(self.entry), 1)

    @functools.cached_property
    def at_rate(self) -> Params:
        """The parameters after updates outside jit, with a learning rate of 0.01."""
        return self.eagerly(_make(self.entry, learning_rate=1e-2))


def check_declaration(checked: Checked) -> None:
    """It says where it comes from, shows an example, and can be made anywhere in its space."""
    entry = checked.entry
    text = inspect.cleandoc(entry.factory.__doc__ or "")
    for part in ("Args:", "Returns:", "Source:", "Example:"):
        assert part in text, f"the docstring of {entry.factory.__name__} lacks {part}"
    assert re.search(r"\b(19|20)\d\d\b", text.split("Source:")[1]), "the docstring's Source: names no year"
    for u in (0.0, 0.5, 0.999):
        tx = entry.factory(**{k: r.at(u) for k, r in entry.space.items()})
        assert hasattr(tx, "init") and hasattr(tx, "update"), (
            f"{entry.factory.__name__} returned {type(tx).__name__}; return an optax.GradientTransformation"
        )


def check_keeps_dtypes(checked: Checked) -> None:
    """Updates have the dtype of the parameters, and the state has the same form after an update."""
    entry = checked.entry
    with jax.enable_x64(True):
        for dtype in (jnp.bfloat16, jnp.float16, jnp.float32, jnp.float64):
            params = parameters(entry, dtype)
            tx = _make(entry)
            state = jax.eval_shape(tx.init, params)
            updated, after, updates = jax.eval_shape(functools.partial(_update, entry, tx), params, state)
            wanted = shapes(params)
            assert shapes(updates) == wanted, f"updates of {dtype.__name__} parameters are {shapes(updates)}"
            assert shapes(updated) == wanted, f"{dtype.__name__} parameters become {shapes(updated)}"
            assert jax.tree.structure(after) == jax.tree.structure(state), (
                "update changes the state's structure"
            )
            before, now = shapes(state), shapes(after)
            changed = [f"{k}: {before[k]} to {now[k]}" for k in before if before[k] != now[k]]
            assert not changed, f"update changes the state's dtypes or shapes: {'; '.join(changed)}"
            wide = [k for k, v in before.items() if v.startswith("float64") and dtype != jnp.float64]
            assert not wide, f"the state of {dtype.__name__} parameters is float64 at {', '.join(wide)}"


def check_traced_settings(checked: Checked) -> None:
    """Compiled with its hyperparameters as arguments it does what it does outside jit; once is enough."""
    entry = checked.entry
    params, numbers = parameters(entry), _numbers(entry)
    compiled = checked.loop(numbers, params, UPDATES)[0]
    expected = checked.eagerly(_make(entry, **numbers))
    wrong = different(compiled, expected, 2e-5)
    assert not wrong, f"jitted with traced hyperparameters it differs: {'; '.join(wrong)}"
    with compilations() as count:
        checked.loop({k: 0.99 * v for k, v in numbers.items()}, params, UPDATES)
        assert count() == 0, "other hyperparameters compile it again; do not branch on their values"


def check_injects_hyperparameters(checked: Checked) -> None:
    """`optax.inject_hyperparams` makes its learning rate part of the state, where it can be changed."""
    entry = checked.entry
    if "learning_rate" not in entry.space:
        return
    static = [
        k for k, p in inspect.signature(entry.factory).parameters.items() if not isinstance(p.default, float)
    ]
    tx = optax.inject_hyperparams(entry.factory, static)(**_structure(entry), learning_rate=1e-2)
    wrong = different(checked.eagerly(tx), checked.at_rate, 2e-5)
    assert not wrong, f"with injected hyperparameters it differs: {'; '.join(wrong)}"
    params = parameters(entry)
    state: Any = tx.init(params)
    rates = [k for k in state.hyperparams if k.endswith("learning_rate")]  # players may have one each
    state.hyperparams.update({k: jnp.asarray(0.0) for k in rates})
    same = _update(entry, tx, params, state)[0]
    assert not different(same, params, 0.0), f"with the injected {', '.join(rates)} set to 0 it still moves"


def check_schedule(checked: Checked) -> None:
    """A schedule may stand for the learning rate."""
    entry = checked.entry
    if "learning_rate" not in entry.space:
        return
    scheduled = checked.eagerly(_make(entry, learning_rate=optax.constant_schedule(1e-2)))
    wrong = different(scheduled, checked.at_rate, 1e-6)
    assert not wrong, f"a constant schedule differs from the constant: {'; '.join(wrong)}"


def check_composes(checked: Checked) -> None:
    """It can be chained, accumulated over batches and masked."""
    entry, params = checked.entry, parameters(checked.entry)
    chained = optax.chain(optax.clip_by_global_norm(1e9), _make(entry), optax.scale(1.0))
    wrong = different(checked.eagerly(chained, 1), checked.once, 1e-6)
    assert not wrong, f"chained with transformations that change nothing it differs: {'; '.join(wrong)}"
    steps: Any = optax.MultiSteps(optax.with_extra_args_support(_make(entry)), 2)
    twice = checked.eagerly(optax.GradientTransformationExtraArgs(steps.init, steps.update), 2)
    wrong = different(twice, checked.once, 1e-5)
    assert not wrong, f"accumulated over two equal batches it differs: {'; '.join(wrong)}"
    if entry.needs & {"players", "layer inputs"}:
        return  # what it is told about parts of the parameters would have to be masked too
    mask = {
        "one": jax.tree.map(lambda _: True, params["one"]),
        "two": jax.tree.map(lambda _: False, params["two"]),
    }
    tx = optax.chain(
        optax.masked(_make(entry), mask),
        optax.masked(optax.set_to_zero(), jax.tree.map(lambda b: not b, mask)),
    )
    state = tx.init(params)
    of = functools.partial(loss, entry)
    of_one = lambda p: of({**p, "two": params["two"]})  # noqa: E731  (the masked see a part)
    given, grad = {"value": of(params), "value_fn": of_one}, jax.grad(of)(params)
    updates: Any = optax.with_extra_args_support(tx).update(grad, state, params, **given)[0]
    assert finite(updates["one"]), "masked to a part of the parameters its updates are not finite"
    assert not any(np.any(u) for u in jax.tree.leaves(updates["two"])), (
        "it changes parameters that are masked out"
    )


def check_zero_gradient(checked: Checked) -> None:
    """A gradient of zero gives a finite update."""
    entry = checked.entry
    params, tx = parameters(entry), _make(entry)
    zero = optax.tree.zeros_like(params)
    given = {**_arguments(entry, params), "grad": zero}
    updates, state = optax.with_extra_args_support(tx).update(zero, tx.init(params), params, **given)
    assert finite(updates), "a gradient of zero gives an update that is not finite"
    floats = [v for v in jax.tree.leaves(state) if jnp.issubdtype(jnp.result_type(v), jnp.floating)]
    assert finite(floats), "a gradient of zero leaves a state that is not finite"


def check_minimises(checked: Checked) -> None:
    """With the best of four learning rates it brings a quadratic's gradient down, if it converges tenfold."""
    entry = checked.entry
    start, numbers = parameters(entry), _numbers(entry)
    size = lambda x: float(optax.tree.norm(jax.grad(functools.partial(loss, entry))(x)))  # noqa: E731
    rates = [entry.space["learning_rate"].at(u) for u in (0.4, 0.6, 0.8, 0.99) if "learning_rate" in numbers]
    far = {k: entry.space[k].at(0.99) for k in numbers}  # some need more damping without noise
    trials = [*({**numbers, "learning_rate": r} for r in rates), far if rates else numbers]
    ends = [size(checked.loop(settings, start, STEPS)[0]) for settings in trials]
    best = min((e for e in ends if np.isfinite(e)), default=np.inf)
    tried = ", ".join(f"{r:.0e}" for r in rates) or "of its own"
    assert best <= size(start) * (0.1 if entry.converges else 0.99), (
        f"{STEPS} updates bring a gradient of norm {size(start):.2e} to {best:.2e} at best, with "
        f"learning rates {tried}"
    )


def check_batches(checked: Checked) -> None:
    """Under vmap every member is updated as it would be alone."""
    entry = checked.entry
    one, tx = parameters(entry), _make(entry)
    both = jax.tree.map(lambda v: jnp.stack([v, 2 * v]), one)
    batched = jax.jit(jax.vmap(lambda p: _update(entry, tx, p, tx.init(p))[0]))(both)
    for i in (0, 1):
        alone = checked.once if i == 0 else checked.eagerly(tx, 1, jax.tree.map(lambda v: 2 * v, one))
        wrong = different(jax.tree.map(lambda v, i=i: v[i], batched), alone, 2e-5)
        assert not wrong, f"member {i} of a batch differs from the same alone: {'; '.join(wrong)}"


def check_differentiable(checked: Checked) -> None:
    """The loss after two updates has a finite derivative in the learning rate."""
    entry, numbers = checked.entry, _numbers(checked.entry)
    if "learning_rate" not in numbers:
        return

    def after(rate: Scalar) -> Scalar:
        tx = _make(entry, learning_rate=rate)
        params = parameters(entry)

        def body(carry: tuple, _: None) -> tuple:
            return _update(entry, tx, *carry)[:2], None

        start = (params, jax.tree.map(jnp.asarray, tx.init(params)))
        return loss(entry, jax.lax.scan(body, start, length=2)[0][0])

    slope = jax.jit(lambda rate: jax.jvp(after, (rate,), (1.0,))[1])(numbers["learning_rate"])
    assert finite(slope), "the loss after two updates has no finite derivative in the learning rate"


def check_keeps_shardings(checked: Checked) -> None:
    """Over all devices there are, updates and state lie where the parameters do, and are right."""
    entry, params, tx = checked.entry, parameters(checked.entry), _make(checked.entry)
    mesh = jax.make_mesh((jax.device_count(),), ("devices",), (jax.sharding.AxisType.Auto,))

    def placed(path: tuple, v: Any) -> Any:
        axes = {"kernel": P("devices"), "filters": P(None, None, None, "devices")}
        return jax.device_put(v, NamedSharding(mesh, axes.get(path[-1].key, P())))

    spread = jax.tree_util.tree_map_with_path(placed, params)
    step = jax.jit(functools.partial(_update, entry, tx))
    updated, state, updates = step(spread, jax.jit(tx.init)(spread))
    wrong = different(updated, checked.once, 2e-5)
    assert not wrong, f"spread over {jax.device_count()} devices it differs: {'; '.join(wrong)}"
    homes = {v.shape: v.sharding for v in jax.tree.leaves(spread)}
    for what, found in (("updates", updates), ("state", state)):
        moved = [
            jax.tree_util.keystr(path)
            for path, v in jax.tree_util.tree_leaves_with_path(found)
            if v.shape in homes and not v.sharding.is_equivalent_to(homes[v.shape], v.ndim)
        ]
        assert not moved, f"the {what} do not lie where the parameters do: {', '.join(moved)}"


_CHECKS = (
    check_declaration,
    check_keeps_dtypes,
    check_traced_settings,
    check_injects_hyperparameters,
    check_schedule,
    check_composes,
    check_zero_gradient,
    check_minimises,
    check_batches,
    check_differentiable,
    check_keeps_shardings,
)


def yield_optimizer_checks(factory: Callable[..., Any]) -> Iterator[tuple[str, Callable[[], None]]]:
    """The checks of one optimizer as ``(name, callable)``; a callable raises where its check fails.

    Args:
        factory: a function declared by `frechet.optimizers.registry.optimizer`.

    Raises:
        TypeError: it was not declared.
    """
    entry = declared(factory)
    if entry is None:
        name = getattr(factory, "__name__", repr(factory))
        raise TypeError(f"{name} is not declared; decorate it with frechet.optimizers.optimizer(space=...)")
    checked = Checked(entry)
    for check in _CHECKS:
        yield check.__name__.removeprefix("check_"), functools.partial(check, checked)
