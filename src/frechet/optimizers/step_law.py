"""Step Law: learning rate and batch size of language-model pretraining from model size and data."""

import dataclasses
import warnings
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from frechet.core.space import Choice, LogUniform
from frechet.optimizers.registry import optimizer


@dataclasses.dataclass(frozen=True)
class PowerLaw:
    r"""A law $c\, N^\alpha D^\beta$ of model size and training tokens.

    Attributes:
        scale: $c$.
        parameters: $\alpha$, the exponent of the number of parameters.
        tokens: $\beta$, the exponent of the number of tokens.

    Example:
        >>> PowerLaw(2.0, -0.5, 1.0)(4.0, 3.0)
        3.0
    """

    scale: float
    parameters: float
    tokens: float

    def __call__(self, parameters: float, tokens: float) -> float:
        """The law's value at ``parameters`` and ``tokens``."""
        return self.scale * parameters**self.parameters * tokens**self.tokens


_LEARNING_RATE = PowerLaw(1.79, -0.713, 0.307)
_BATCH_SIZE = PowerLaw(0.58, 0.0, 0.571)
_FITTED = (6e7, 7e9)  # model sizes between which the law was fitted or tested


def step_law_learning_rate(parameters: float, tokens: float) -> float:
    r"""The peak learning rate of AdamW, $1.79\, N^{-0.713} D^{0.307}$.

    It belongs to `step_law_schedule`: with a schedule that has no fixed minimum, say, it does not hold.

    Args:
        parameters: $N$, without embeddings and vocabulary projections.
        tokens: $D$, seen in training.

    Warns:
        UserWarning: the model is smaller or larger than those that the law was fitted to.

    Source:
        Houyi Li, Wenzhen Zheng, Jingcheng Hu, Qiufeng Wang et al. 2025, Predictable Scale: Part I, Step Law,
        arXiv 2503.04715.

    Example:
        >>> f"{step_law_learning_rate(1e9, 1e11):.4e}"
        '1.6325e-03'
    """
    low, high = _FITTED
    if not low <= parameters <= high:
        warnings.warn(
            f"Step Law was fitted to models of {low:.0e} to {high:.0e} parameters, not of {parameters:.1e}; "
            "count without embeddings, and tune the learning rate around what it says",
            stacklevel=2,
        )
    return _LEARNING_RATE(parameters, tokens)


def step_law_batch_size(tokens: float) -> float:
    r"""The batch size in tokens, $0.58\, D^{0.571}$; divide it by the length of sequences.

    Args:
        tokens: $D$, seen in training.

    Source:
        Li et al. 2025, arXiv 2503.04715.

    Example:
        >>> round(step_law_batch_size(1e11) / 2048)  # sequences of 2048 tokens
        541
    """
    return _BATCH_SIZE(1.0, tokens)


def deepseek_learning_rate(compute: float) -> float:
    r"""DeepSeek's law of the learning rate, $0.3118\, C^{-0.125}$, to compare with.

    Args:
        compute: $C = M D$, non-embedding floating point operations a token times tokens.

    Source:
        DeepSeek-AI 2024, DeepSeek LLM: Scaling Open-Source Language Models with Longtermism,
        arXiv 2401.02954.

    Example:
        >>> f"{deepseek_learning_rate(1e20):.4e}"
        '9.8600e-04'
    """
    return 0.3118 * compute**-0.125


def deepseek_batch_size(compute: float) -> float:
    r"""DeepSeek's law of the batch size in tokens, $0.2920\, C^{0.3271}$, to compare with.

    Args:
        compute: $C = M D$, non-embedding floating point operations a token times tokens.

    Source:
        DeepSeek-AI 2024, arXiv 2401.02954.

    Example:
        >>> f"{deepseek_batch_size(1e20):.4g}"
        '1.017e+06'
    """
    return 0.2920 * compute**0.3271


def step_law_schedule(
    peak: float | Array, total_steps: int, warmup_steps: int = 2000, end: float = 1e-5
) -> optax.Schedule:
    """The schedule that Step Law belongs to: a linear warm-up, then a cosine to a fixed learning rate.

    The end is the same for every peak, not a fraction of it.

    Args:
        peak: the learning rate after the warm-up.
        total_steps: of training, the warm-up included.
        warmup_steps: of the rise from zero.
        end: the learning rate at the end.

    Raises:
        ValueError: the warm-up is longer than training.

    Example:
        >>> schedule = step_law_schedule(1e-3, 10_000)
        >>> [round(float(schedule(t)), 6) for t in (0, 1000, 2000, 6000, 10_000)]
        [0.0, 0.0005, 0.001, 0.000505, 1e-05]
    """
    if not 0 <= warmup_steps < total_steps:
        raise ValueError(f"training needs more steps than its warm-up, got {total_steps} and {warmup_steps}")
    cosine = optax.cosine_decay_schedule(1.0, total_steps - warmup_steps)
    rise = optax.linear_schedule(0.0, 1.0, warmup_steps) if warmup_steps else optax.constant_schedule(1.0)
    fall = lambda t: end + (peak - end) * cosine(t)  # noqa: E731
    return optax.join_schedules([lambda t: peak * rise(t), fall], [warmup_steps])


class StepLawState(NamedTuple):
    """The learning rate that the law gives for these parameters, and the steps done."""

    count: Array
    peak: Array


def scale_by_step_law(
    tokens: float | None = None,
    multiplier: float = 1.0,
    *,
    total_steps: int | None = None,
    warmup_steps: int = 2000,
    counted: Callable[[PyTree[Array]], PyTree[bool]] | PyTree[bool] = True,
) -> optax.GradientTransformation:
    """Multiplies by minus the learning rate of Step Law, its model size counted from the parameters.

    Args:
        tokens: seen in training; 20 for each parameter when left out.
        multiplier: of the law's learning rate.
        total_steps: of training, for `step_law_schedule`; the constant peak when left out.
        warmup_steps: of `step_law_schedule`.
        counted: which leaves count, a prefix tree of booleans or a function from parameters to one. Leave out
            embeddings and vocabulary projections.

    Returns:
        A transformation.

    Warns:
        UserWarning: at ``init``, where ``tokens`` are given and the model is outside the law's range.
    """
    if total_steps is not None:
        step_law_schedule(1.0, total_steps, warmup_steps)  # refuses wrong steps now rather than at update

    def init_fn(params):
        chosen = counted(params) if callable(counted) else counted
        sizes = jax.tree.map(lambda c, part: c * sum(map(jnp.size, jax.tree.leaves(part))), chosen, params)
        n = max(sum(jax.tree.leaves(sizes)), 1)
        # without tokens nobody has said that this is pretraining, so nobody is warned
        law = _LEARNING_RATE(n, 20 * n) if tokens is None else step_law_learning_rate(n, tokens)
        dtype = jnp.result_type(jnp.float32, *jax.tree.leaves(params))
        return StepLawState(jnp.zeros([], jnp.int32), jnp.asarray(multiplier * law, dtype))

    def update_fn(updates, state, params=None):
        del params
        rate = state.peak
        if total_steps is not None:
            # schedules of an integer count are of single precision whatever the rest is
            count = state.count.astype(rate.dtype)
            rate = jnp.asarray(step_law_schedule(rate, total_steps, warmup_steps)(count))
        updates = jax.tree.map(lambda u: (-rate).astype(u.dtype) * u, updates)
        return updates, StepLawState(jnp.asarray(optax.safe_increment(state.count)), state.peak)

    return optax.GradientTransformation(init_fn, update_fn)


@optimizer(space={"multiplier": LogUniform(0.01, 10.0), "b2": Choice(0.95, 0.999)})
def step_law(
    tokens: float | None = None,
    multiplier: float = 1.0,
    b1: float = 0.9,
    b2: float = 0.95,
    weight_decay: float = 0.1,
    *,
    total_steps: int | None = None,
    warmup_steps: int = 2000,
    counted: Callable[[PyTree[Array]], PyTree[bool]] | PyTree[bool] = True,
) -> optax.GradientTransformation:
    r"""AdamW with the learning rate of Step Law, for pretraining language models.

    $$\eta = 1.79\, N^{-0.713} D^{0.307}$$

    for $N$ parameters, counted when the state is made, and $D$ tokens, then `step_law_schedule`, whose fixed
    minimum is part of the law. Batches are to be of `step_law_batch_size` tokens.

    Args:
        tokens: $D$, seen in training; 20 for each parameter when left out (Hoffmann et al. 2022).
        multiplier: of the law's learning rate, to see how far off it is.
        b1: decay of the first moment.
        b2: decay of the second moment.
        weight_decay: decoupled, as in AdamW.
        total_steps: of training; without them the learning rate stays at its peak.
        warmup_steps: of the linear rise.
        counted: which leaves count in $N$, a prefix tree of booleans or a function from parameters to one.
            Leave out embeddings and vocabulary projections.

    Returns:
        An optax transformation; ``update`` needs ``params``.

    Warns:
        UserWarning: when the state is made, if ``tokens`` are given and the model is outside the law's range.

    Source:
        Houyi Li, Wenzhen Zheng, Jingcheng Hu, Qiufeng Wang et al. 2025, Predictable Scale: Part I, Step Law:
        Optimal Hyperparameter Scaling Law in Large Language Model Pretraining, arXiv 2503.04715.

    Example:
        >>> import jax.numpy as jnp
        >>> params = {"embedding": jnp.zeros((100, 8)), "hidden": jnp.zeros((8, 8))}
        >>> tx = step_law(counted={"embedding": False, "hidden": True})
        >>> f"{tx.init(params)[-1].peak:.3f}"  # of 64 parameters and 1280 tokens
        '0.830'
    """
    return optax.chain(
        optax.scale_by_adam(b1, b2),
        optax.add_decayed_weights(weight_decay),
        scale_by_step_law(
            tokens, multiplier, total_steps=total_steps, warmup_steps=warmup_steps, counted=counted
        ),
    )
