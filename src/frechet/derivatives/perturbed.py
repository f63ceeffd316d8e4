"""Functions and optimisers made differentiable by noise on their input."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree, Scalar
from optax.perturbations import Gumbel, Normal, make_perturbed_fun

from frechet.core import tree

__all__ = ["Gumbel", "Normal", "perturbed", "perturbed_max"]


def perturbed(
    f: Callable[[PyTree], PyTree],
    *,
    samples: int = 1000,
    sigma: Any = 0.1,
    noise: Any = None,
    baseline: bool = True,
) -> Callable[[PyTree, PRNGKeyArray], PyTree]:
    r"""$x \mapsto \mathbb{E}\, f(x + \sigma Z)$ by sampling, with unbiased estimates of all derivatives.

    They need values of $f$ alone, so $f$ may be an argmax, a ranking, a shortest path or any solver: a vertex
    of a polytope that jumps becomes a point inside of it that moves. Optax's estimator with the key last.

    Args:
        f: from a pytree of arrays to one.
        samples: how many to average over; the standard error falls with its square root.
        sigma: the scale of the noise: more is smoother and further from $f$.
        noise: with ``sample(key, shape, dtype)`` and ``log_prob(z)``, such as `Gumbel` (the default; of an
            argmax over a one-hot simplex it makes the softmax of $x / \sigma$) or `Normal`.
        baseline: whether $f(x)$ is taken off, which lowers the variance of derivatives for one more call.

    Returns:
        A function of ``x`` and a key.

    Source: Berthet, Blondel, Teboul, Cuturi, Vert and Bach, 2020, "Learning with differentiable perturbed
    optimizers", NeurIPS, arXiv 2002.08676.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> hardmax = lambda x: jax.nn.one_hot(jnp.argmax(x), x.size)
        >>> soft = perturbed(hardmax, samples=10_000, sigma=0.5)
        >>> x = jnp.array([0.2, 0.5, 0.1])
        >>> bool(jnp.allclose(soft(x, jax.random.key(0)), jax.nn.softmax(x / 0.5), atol=0.02))
        True
    """
    estimate = make_perturbed_fun(f, samples, sigma, Gumbel() if noise is None else noise, baseline)
    return lambda x, key: estimate(key, x)


def perturbed_max(
    argmax: Callable[[PyTree], PyTree],
    *,
    samples: int = 1000,
    sigma: Any = 0.1,
    noise: Any = None,
    baseline: bool = True,
) -> Callable[[PyTree, PRNGKeyArray], Scalar]:
    r"""$x \mapsto \mathbb{E} \max_{y} \langle y, x + \sigma Z\rangle$ for the maximiser ``argmax``.

    Convex, and its gradient is the perturbed argmax, of the same samples: what a Fenchel-Young loss
    of a perturbed optimiser needs (see `frechet.losses.fenchel_young_loss`).

    Args:
        argmax: from a pytree of scores to the maximiser, of the same structure.
        samples: as in `perturbed`, like the rest.
        sigma: the scale of the noise.
        noise: its distribution.
        baseline: of the second derivatives.

    Returns:
        A function of ``x`` and a key.

    Source: as `perturbed`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> hardmax = lambda x: jax.nn.one_hot(jnp.argmax(x), x.size)
        >>> soft = perturbed_max(hardmax, samples=10_000, sigma=0.5)
        >>> x, key = jnp.array([0.2, 0.5, 0.1]), jax.random.key(0)
        >>> bool(jnp.allclose(jax.grad(soft)(x, key), perturbed(hardmax, samples=10_000, sigma=0.5)(x, key)))
        True
    """
    settings = {"samples": samples, "sigma": sigma, "noise": noise, "baseline": baseline}
    value = perturbed(lambda x: tree.vdot(x, argmax(x)), **settings)
    gradient = perturbed(argmax, **settings)

    @jax.custom_jvp
    def smoothed(x: PyTree, key: PRNGKeyArray) -> Scalar:
        return jnp.asarray(value(x, key))

    @smoothed.defjvp
    def _(primals: tuple, tangents: tuple) -> tuple[Scalar, Scalar]:
        return smoothed(*primals), jnp.asarray(tree.vdot(gradient(*primals), tangents[0]))

    return smoothed
