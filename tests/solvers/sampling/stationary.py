"""Averages along chains that start in the law they should keep, with their Monte-Carlo errors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import frechet as fr


@functools.partial(jax.jit, static_argnames="steps")
def ended(density, sampler, start, steps, seed=1):
    """The chains and their last state after some steps."""
    key = jax.random.key(seed)

    def turn(state, k):
        return sampler.step(density, state, key=k), None

    state = sampler.init(density, fr.Chains.at(start), key=key)
    return jax.lax.scan(turn, state, jax.random.split(key, steps))[0]


def second_moments(x):
    """Means of squares about zero, and their standard errors, a chain being one independent datum."""
    squares = jax.tree.map(lambda s, m: np.asarray(s + m**2), x.square, x.mean)
    return (
        jax.tree.map(lambda v: v.mean(0), squares),
        jax.tree.map(lambda v: v.std(0) / np.sqrt(len(v)), squares),
    )


def gaussian(precisions):
    """The potential of independent Gaussians, as a closure."""
    return lambda x: 0.5 * jnp.sum(precisions * x**2)
