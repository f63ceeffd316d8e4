"""Hamiltonian Monte Carlo, by BlackJAX."""

import importlib
from types import ModuleType
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PRNGKeyArray, PyTree

from frechet.problems.density import Density
from frechet.solvers.sampling.langevin import LangevinSampler, positive_or_none
from frechet.solvers.sampling.pace import Pace

BEST_ACCEPTANCE = 0.8
JITTER = 0.2
"""By how much the step sizes of Hamiltonian Monte Carlo vary, at random, from move to move."""


class Trajectory(eqx.Module):
    """What a chain keeps between moves.

    Attributes:
        at: BlackJAX's state: position, log density and its gradient.
        pace: the leapfrog's step size.
    """

    at: Any
    pace: Pace


class BlackJAX(LangevinSampler):
    r"""Hamiltonian Monte Carlo and the no-U-turn sampler, kernels of BlackJAX, for smooth potentials.

    A move follows Hamilton's equations for $f$ from a random momentum, by leapfrog steps, and accepts where
    they end with a probability that makes the density invariant. It goes far in one move, so draws depend on
    each other less than those of `MALA`. A leapfrog step costs one value and one gradient. The no-U-turn
    sampler finds the number of steps itself, up to $2^{10}$; chains side by side wait for the longest
    trajectory, and each counts its own.

    Needs ``pip install "frechet[sampling]"``.

    Args:
        algorithm: ``"nuts"`` or ``"hmc"``.
        step_size: of the leapfrog; None begins with $d^{-1/4}/\sqrt{L}$, with the largest curvature where
            the chains start for $L$, and follows the acceptance to 80 %, by changes that fade.
        variances: about those of the coordinates, a pytree like a point, by which momenta are scaled: a
            first run's ``moments().variance``, say. None takes ones.
        leapfrog_steps: of ``"hmc"``, whose step sizes vary by up to 20 % from move to move, so that no
            direction's period is met.

    Raises:
        ValueError: an unknown algorithm.
        ImportError: when used without BlackJAX.

    Source: Duane, Kennedy, Pendleton, Roweth 1987, Hybrid Monte Carlo; Hoffman, Gelman 2014, The no-U-turn
    sampler, arXiv 1111.4246; Cabezas, Corenflos, Lao, Louf 2024, BlackJAX: composable Bayesian inference in
    JAX, arXiv 2402.10797.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> density = fr.Density(lambda x: 0.5 * jnp.sum(x**2))
        >>> x = fr.solve(density, density.chains(jnp.zeros(2), 50), BlackJAX("hmc"), max_steps=200).x
        >>> bool(abs(x.moments().variance[0] - 1) < 0.1)
        True
    """

    needs: ClassVar[frozenset[str]] = frozenset({"value", "gradient", "smooth"})

    algorithm: Literal["nuts", "hmc"] = eqx.field(default="nuts", static=True)
    variances: PyTree[Array] | None = None
    leapfrog_steps: int = eqx.field(default=10, static=True)

    def __init__(
        self,
        algorithm: Literal["nuts", "hmc"] = "nuts",
        step_size: Any = None,
        variances: PyTree[Array] | None = None,
        leapfrog_steps: int = 10,
    ):
        self.algorithm, self.step_size = algorithm, positive_or_none(step_size)
        self.variances, self.leapfrog_steps = variances, leapfrog_steps

    def __check_init__(self):
        if self.algorithm not in ("nuts", "hmc"):
            raise ValueError(f'algorithm must be "nuts" or "hmc", got {self.algorithm!r}')

    @classmethod
    def presets(cls) -> dict[str, "BlackJAX"]:
        return {"BlackJAX:hmc": cls("hmc")}

    def slope(
        self, problem: Density, x: PyTree[Array], curvature: Any
    ) -> tuple[PyTree[Array], dict[str, int]]:
        return problem.gradient(x), {"gradient": 1}

    def begin(
        self, problem: Density, position: PyTree[Array], curvature: Any
    ) -> tuple[PyTree[Array], dict[str, Any]]:
        at = getattr(_blackjax(), self.algorithm).init(position, _log_density(problem))
        dtype = at.logdensity.dtype
        unknowns = sum(v.size for v in jax.tree.leaves(position))
        step = unknowns**-0.25 / jnp.sqrt(curvature) if self.step_size is None else self.step_size
        return Trajectory(at, Pace.of(step, dtype)), {"value": 1, "gradient": 1}

    def move(
        self, problem: Density, position: PyTree[Array], memory: Trajectory, key: PRNGKeyArray
    ) -> tuple[PyTree[Array], Trajectory, dict[str, Any]]:
        kernel = getattr(_blackjax(), self.algorithm).build_kernel()
        dtype = memory.pace.log_step.dtype
        of_step, of_move = jax.random.split(key)
        step, length = memory.pace.step, ()
        if self.algorithm == "hmc":
            # A trajectory of one length may come back to where it began, again and again.
            step = step * jax.random.uniform(of_step, (), dtype, 1 - JITTER, 1 + JITTER)
            length = (self.leapfrog_steps,)
        like = jax.tree.map(jnp.ones_like, position) if self.variances is None else self.variances
        scales = ravel_pytree(like)[0].astype(dtype)
        at, info = kernel(of_move, memory.at, _log_density(problem), step, scales, *length)
        at = jax.tree.map(lambda new, old: new.astype(old.dtype), at, memory.at)
        chance = jnp.nan_to_num(info.acceptance_rate).astype(dtype)
        pace = memory.pace.after(chance, BEST_ACCEPTANCE if self.step_size is None else None)
        n = info.num_integration_steps
        return at.position, Trajectory(at, pace), {"value": n, "gradient": n}


def _log_density(problem: Density) -> Any:
    return lambda x: -problem.value(x)


def _blackjax() -> ModuleType:
    try:
        return importlib.import_module("blackjax")
    except ImportError:
        raise ImportError('BlackJAX is missing; pip install "frechet[sampling]"') from None
