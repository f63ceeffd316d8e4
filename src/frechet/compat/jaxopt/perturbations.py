"""``jaxopt.perturbations``: perturbed functions, with the random key last."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, PRNGKeyArray

from frechet.derivatives.perturbed import perturbed, perturbed_max


class Normal:
    """The standard normal distribution."""

    def sample(self, seed: PRNGKeyArray, sample_shape: tuple[int, ...]) -> Array:
        """Independent draws."""
        return jax.random.normal(seed, sample_shape)

    def log_prob(self, inputs: Array) -> Array:
        """Logarithm of the density, up to a constant."""
        return -0.5 * inputs**2


class Gumbel:
    """The standard Gumbel distribution."""

    def sample(self, seed: PRNGKeyArray, sample_shape: tuple[int, ...]) -> Array:
        """Independent draws."""
        return jax.random.gumbel(seed, sample_shape)

    def log_prob(self, inputs: Array) -> Array:
        """Logarithm of the density."""
        return -inputs - jax.numpy.exp(-inputs)


class _Noise:
    """A distribution of JAXopt's kind with the signature of Optax's."""

    def __init__(self, noise: Any):
        self.noise, self.log_prob = noise, noise.log_prob

    def sample(self, key: PRNGKeyArray, sample_shape: tuple[int, ...], dtype: Any) -> Array:
        return self.noise.sample(seed=key, sample_shape=sample_shape).astype(dtype)


def make_perturbed_fun(
    fun: Callable[[Array], Any],
    num_samples: int = 1000,
    sigma: float = 0.1,
    noise: Any = Gumbel(),
    control_variate: bool = False,
) -> Callable[[Array, PRNGKeyArray], Any]:
    """``fun`` averaged over perturbed inputs, of the input and a key; see `frechet.derivatives.perturbed`.

    The draws of a key are not those of JAXopt.
    """
    return perturbed(fun, samples=num_samples, sigma=sigma, noise=_Noise(noise), baseline=control_variate)


def make_perturbed_argmax(
    argmax_fun: Callable[[Array], Array],
    num_samples: int = 1000,
    sigma: float = 0.1,
    noise: Any = Gumbel(),
    control_variate: bool = False,
) -> Callable[[Array, PRNGKeyArray], Array]:
    """The same of an argmax."""
    return make_perturbed_fun(argmax_fun, num_samples, sigma, noise, control_variate)


def make_perturbed_max(
    argmax_fun: Callable[[Array], Array],
    num_samples: int = 1000,
    sigma: float = 0.1,
    noise: Any = Gumbel(),
) -> Callable[[Array, PRNGKeyArray], Array]:
    """The maximum that belongs to an argmax, averaged likewise; its gradient is `make_perturbed_argmax`."""
    return perturbed_max(argmax_fun, samples=num_samples, sigma=sigma, noise=_Noise(noise), baseline=False)
