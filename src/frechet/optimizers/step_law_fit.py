"""Fitting laws like Step Law to a table of training runs."""

import dataclasses
import math

import numpy as np

from frechet.optimizers.step_law import PowerLaw


@dataclasses.dataclass(frozen=True)
class StepLawFit:
    """Laws fitted to a table of runs.

    Attributes:
        learning_rate: the law of the learning rate.
        batch_size: the law of the batch size, in the unit of the table.
        spread: standard deviations over resamples, shape (2, 3): for learning rate and batch size those
            of the scale's logarithm, of the parameters' exponent and of the tokens'.
        kept: which runs were near enough to the best of their group, shape (runs,), booleans.
    """

    learning_rate: PowerLaw
    batch_size: PowerLaw
    spread: np.ndarray
    kept: np.ndarray


def fit_step_law(
    parameters: np.ndarray,
    tokens: np.ndarray,
    learning_rate: np.ndarray,
    batch_size: np.ndarray,
    loss: np.ndarray,
    *,
    plateau: float = 0.0025,
    resamples: int = 1000,
    seed: int = 0,
) -> StepLawFit:
    r"""Fits the laws of learning rate and batch size to runs of a user's own, as the paper does.

    Of every group of runs with the same $N$ and $D$ those are kept whose loss is within ``plateau`` of the
    least. On them $\log \eta$ and $\log B$ are regressed on $(1, \log N, \log D)$ by least squares, and
    coefficients are averaged over bootstrap resamples. Around its minimum the loss is flat, so that which run
    of a group is best is mostly noise.

    Args:
        parameters: $N$ of each run, shape (runs,).
        tokens: $D$ of each run.
        learning_rate: $\eta$ of each run.
        batch_size: $B$ of each run.
        loss: at its end, positive.
        plateau: relative to the least loss of the group; 0 keeps the best run alone.
        resamples: of the runs that are kept.
        seed: of NumPy's default generator.

    Raises:
        ValueError: lengths differ, or the runs that are kept do not vary in both $N$ and $D$.

    Source:
        Houyi Li, Wenzhen Zheng, Jingcheng Hu, Qiufeng Wang et al. 2025, Predictable Scale: Part I, Step Law,
        arXiv 2503.04715.

    Example:
        >>> import numpy as np
        >>> from frechet.optimizers.step_law import step_law_batch_size, step_law_learning_rate
        >>> n, d, lr = (a.ravel() for a in np.meshgrid([1e8, 1e9], [1e9, 1e10], np.logspace(-4, -1, 999)))
        >>> best = [step_law_learning_rate(*nd) for nd in zip(n, d)]
        >>> loss = 3 + 0.1 * np.log(lr / best) ** 2
        >>> fit = fit_step_law(n, d, lr, step_law_batch_size(d), loss, resamples=99)
        >>> f"{fit.learning_rate.parameters:.2f} {fit.learning_rate.tokens:.2f} {fit.batch_size.tokens:.3f}"
        '-0.71 0.31 0.571'
    """
    columns = [np.asarray(c, np.float64) for c in (parameters, tokens, learning_rate, batch_size, loss)]
    if len({c.shape for c in columns}) != 1 or columns[0].ndim != 1:
        raise ValueError(f"every column needs one number a run, got shapes {[c.shape for c in columns]}")
    n, d, lr, b, loss = columns
    group = np.unique(np.stack([n, d]), axis=1, return_inverse=True)[1].ravel()
    least = np.full(group.max() + 1, np.inf)
    np.minimum.at(least, group, loss)
    kept = loss <= (1 + plateau) * least[group]
    design = np.stack([np.ones(kept.sum()), np.log(n[kept]), np.log(d[kept])], axis=1)
    if np.linalg.matrix_rank(design) < 3:
        raise ValueError("the runs that are kept need at least two model sizes and two numbers of tokens")
    targets = np.log(np.stack([lr[kept], b[kept]], axis=1))
    rng = np.random.default_rng(seed)
    draws = rng.integers(len(design), size=(resamples, len(design)))
    coefficients = np.stack([np.linalg.lstsq(design[i], targets[i], rcond=None)[0].T for i in draws])
    rate, batch = (PowerLaw(math.exp(c), p, t) for c, p, t in coefficients.mean(axis=0).tolist())
    return StepLawFit(rate, batch, coefficients.std(axis=0), kept)
