"""Runs a transformation over given gradients, and measures how far two runs are apart."""

import jax
import jax.numpy as jnp
import numpy as np
import optax


def updates_of(tx: optax.GradientTransformation, grads, params=None) -> np.ndarray:
    """The updates a transformation makes of a sequence of gradients while they are applied, a row a step."""
    grads = jnp.asarray(grads)
    params = jnp.zeros_like(grads[0]) if params is None else jnp.asarray(params)

    def step(carry, g):
        params, state = carry
        u, state = tx.update(g, state, params)
        return (optax.apply_updates(params, u), state), u

    return np.asarray(jax.jit(lambda p, gs: jax.lax.scan(step, (p, tx.init(p)), gs)[1])(params, grads))


def error(got: np.ndarray, want: np.ndarray) -> float:
    """The largest difference relative to the largest entry."""
    return float(np.max(np.abs(got - want)) / np.max(np.abs(want)))


def random_problem(dtype, steps: int = 100, size: int = 8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Starting parameters and a gradient a step, in the precision given."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=size).astype(dtype), rng.normal(size=(steps, size)).astype(dtype)


TOLERANCE = {"float64": 1e-12, "float32": 1e-6}
