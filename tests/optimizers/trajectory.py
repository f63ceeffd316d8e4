"""Runs a transformation over given gradients, and measures how far two runs are apart."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax


def trajectory(tx: optax.GradientTransformation, grads: Any, params: Any) -> tuple[Any, Any, Any]:
    """The parameters after each of the given gradients, the updates, and the last state."""

    @jax.jit
    def loop(grads: Any, params: Any) -> tuple:
        def step(carry: tuple, g: Any) -> tuple:
            params, state = carry
            updates, state = tx.update(g, state, params)
            params = optax.apply_updates(params, updates)
            return (params, state), (params, updates)

        (_, state), trace = jax.lax.scan(step, (params, tx.init(params)), grads)
        return *trace, state

    return loop(grads, params)


def updates_at(tx: optax.GradientTransformation, grads: Any, params: Any) -> Any:
    """The updates at a given sequence of parameters, with a gradient each."""

    @jax.jit
    def loop(grads: Any, params: Any) -> Any:
        def step(state: Any, at: tuple) -> tuple:
            updates, state = tx.update(at[0], state, at[1])
            return state, updates

        return jax.lax.scan(step, tx.init(jax.tree.map(lambda w: w[0], params)), (grads, params))[1]

    return loop(grads, params)


def updates_of(tx: optax.GradientTransformation, grads, params=None) -> np.ndarray:
    """The updates a transformation makes of a sequence of gradients while they are applied, a row a step."""
    grads = jnp.asarray(grads)
    params = jnp.zeros_like(grads[0]) if params is None else jnp.asarray(params)
    return np.asarray(trajectory(tx, grads, params)[1])


def error(got: np.ndarray, want: np.ndarray) -> float:
    """The largest difference relative to the largest entry."""
    return float(np.max(np.abs(got - want)) / np.max(np.abs(want)))


def random_problem(dtype, steps: int = 100, size: int = 8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Starting parameters and a gradient a step, in the precision given."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=size).astype(dtype), rng.normal(size=(steps, size)).astype(dtype)


TOLERANCE = {"float64": 1e-12, "float32": 1e-6}
