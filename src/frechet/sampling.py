"""Draws from densities."""

import importlib
import warnings
from types import ModuleType
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from frechet.core import loop
from frechet.core.calls import Calls
from frechet.core.solve import join, prepare, require_fit, split
from frechet.core.solver import Solver
from frechet.core.status import Ending, Status
from frechet.problems.density import Chains, Density, Moments
from frechet.solvers.sampling.pace import Pace


class Samples(eqx.Module):
    """What `sample` returns; a pytree, so it passes through ``jit`` and ``vmap``.

    The methods that are ArviZ's run on the host and need ``pip install "frechet[sampling]"``.

    Attributes:
        draws: a pytree like a point, each leaf with leading axes for chains and draws.
        count: how many draws of each chain are sound: all, unless a move was not finite. The draws after it
            repeat the last.
        status: ``max_steps`` where all moves were made, else ``nonfinite`` and where that came from.
        calls: oracles used, by all chains and the warm-up too.
        acceptance: the mean probability with which a chain's moves were accepted after the warm-up; None
            for samplers that accept all.
        chains: where the chains ended, to go on from.
    """

    draws: PyTree[Array]
    count: Int[Array, ""]
    status: Status
    calls: Calls
    acceptance: Float[Array, " chains"] | None
    chains: Chains

    def moments(self) -> Moments:
        """Means and variances over all sound draws of all chains."""
        sound = jnp.arange(jax.tree.leaves(self.draws)[0].shape[1]) < self.count

        def average(v: Array) -> Array:
            return jnp.mean(v, (0, 1), where=sound.reshape(-1, *(1,) * (v.ndim - 2)))

        mean = jax.tree.map(average, self.draws)
        return Moments(mean, jax.tree.map(lambda v, m: average((v - m) ** 2), self.draws, mean))

    def effective_sample_size(self) -> PyTree[np.ndarray]:
        """Independent draws worth as much for the mean, a number a coordinate; rank-normalised, by ArviZ."""
        return self._diagnosed("ess")

    def r_hat(self) -> PyTree[np.ndarray]:
        """Rank-normalised split R-hat, by ArviZ, a number a coordinate: above 1.01 chains disagree."""
        return self._diagnosed("rhat")

    def standard_error(self) -> PyTree[np.ndarray]:
        """Monte-Carlo standard errors of the means, by ArviZ, a number a coordinate."""
        return self._diagnosed("mcse")

    def to_arviz(self) -> Any:
        """An ArviZ ``InferenceData`` of the sound draws, a variable a leaf, named by its path."""
        sound = self._sound()
        return _arviz().from_dict(
            posterior={_name(path): v for path, v in jax.tree_util.tree_leaves_with_path(sound)}
        )

    def summary(self, **options: Any) -> Any:
        """ArviZ's table of means, deviations, errors, effective sample sizes and R-hat, a row a coordinate.

        Args:
            **options: of ``arviz.summary``.
        """
        return _arviz().summary(self.to_arviz(), **options)

    def _sound(self) -> PyTree[np.ndarray]:
        count = int(self.count)
        if count < 4:
            raise ValueError(f"diagnostics need at least 4 sound draws a chain, got {count}: {self.status}")
        return jax.tree.map(lambda v: np.asarray(v[:, :count], np.float64), self.draws)

    def _diagnosed(self, what: str) -> PyTree[np.ndarray]:
        of = getattr(_arviz(), what)
        return jax.tree.map(lambda v: of({"x": v})["x"].values, self._sound())


def sample(
    density: Density,
    x0: PyTree[Array] | Chains,
    sampler: Solver | None = None,
    *,
    chains: int = 4,
    draws: int = 1000,
    warmup: int = 500,
    thin: int = 1,
    key: PRNGKeyArray | None = None,
) -> Samples:
    r"""Draws from a density by Markov chains side by side; pure, so it passes through ``jit`` and ``vmap``.

    The moves are those of `solve` with the same sampler and key. A move that is not finite ends the draws of
    all chains, and the status says so.

    Args:
        density: what to draw from.
        x0: a point where all chains start, or `Chains`. Agreement of chains that start apart, wider than the
            density, says more.
        sampler: how; `MALA` for a smooth potential when left out, else `MYMALA`, both without bias.
        chains: how many, where ``x0`` is a point.
        draws: how many of each chain to keep.
        warmup: moves before the first draw, which are dropped.
        thin: moves to a draw.
        key: random key; fixed when left out.

    Returns:
        The draws, with diagnostics.

    Raises:
        TypeError: the density or sampler is of the wrong kind, or the sampler cannot take the density.
        ValueError: a number of chains, draws, or moves that makes no sense.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import frechet as fr
        >>> density = fr.Density(lambda x: 0.5 * jnp.sum((x - 1) ** 2))
        >>> found = fr.sample(density, jnp.zeros(2), chains=20, draws=200, warmup=50)
        >>> found.draws.shape, bool(jnp.all(abs(found.moments().mean - 1) < 0.15))
        ((20, 200, 2), True)
    """
    if not isinstance(density, Density):
        raise TypeError(f"sample takes a frechet.Density, got a {type(density).__name__}")
    for name, value, least in (("draws", draws, 1), ("warmup", warmup, 0), ("thin", thin, 1)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    start = x0 if isinstance(x0, Chains) else density.chains(x0, chains)
    problem, start, sampler = prepare(density, start, sampler)
    require_fit(problem, sampler)
    key = jax.random.key(0) if key is None else key
    dynamic, static = split((problem, start, sampler, np.asarray(warmup), np.asarray(thin), key))
    return _sample((draws, static), dynamic)


def _sample_flat(static: tuple, dynamic: list) -> Samples:
    draws, structure = static
    density, start, sampler, warmup, thin, key = join(structure, dynamic)
    warm = loop.advance(density, sampler, loop.begin(density, start, sampler, key), warmup, key)

    def draw(progress: loop.Progress, _: None) -> tuple[loop.Progress, tuple[PyTree[Array], Bool[Array, ""]]]:
        progress = loop.advance(density, sampler, progress, thin, key)
        return progress, (progress.x.position, progress.finite)

    done, (positions, finite) = jax.lax.scan(draw, warm, None, length=draws)
    ending = jnp.where(done.finite, Ending.MAX_STEPS, Ending.NONFINITE).astype(jnp.int32)
    verdict = loop.unjudged(start.count.dtype)._replace(code=ending)
    status = loop.conclude(density, start, done, verdict)
    (moved, accepted), (moved_before, before) = _tally(done), _tally(warm)
    acceptance = None if moved is None else (accepted - before) / jnp.maximum(moved - moved_before, 1)
    draws_first = jax.tree.map(lambda v: jnp.swapaxes(v, 0, 1), positions)
    return Samples(draws_first, jnp.sum(finite), status, done.state.calls, acceptance, done.x)


def _tally(progress: loop.Progress) -> tuple[Any, Any]:
    """Moves, and probabilities of acceptance summed, of a sampler that remembers them."""
    memory = getattr(progress.state, "memory", None)
    pace = memory if isinstance(memory, Pace) else getattr(memory, "pace", None)
    return (None, None) if pace is None else (pace.moves, pace.accepted)


_sample = jax.jit(_sample_flat, static_argnums=0)


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/") or "x"


def _arviz() -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of a coming split of its package
            return importlib.import_module("arviz")
    except ImportError:
        raise ImportError('ArviZ is missing; pip install "frechet[sampling]"') from None
