"""Estimators of many quantities, of which a step samples a few: MSVR, and STORM for one."""

from typing import Any

import jax
from jaxtyping import Array, Int, PyTree

Blocks = Int[Array, " blocks"]


def gain(total: int, drawn: int, momentum: Any) -> Any:
    r"""$\gamma = \frac{m - I}{I(1-a)} + 1 - a$, the weight of differences where $I$ of $m$ blocks are drawn.

    The last difference stands for those of all steps since a block was drawn before, $m/I$ of them on
    average. With $I = m$ it is $1 - a$, and `msvr` is `storm`.

    Args:
        total: $m$.
        drawn: $I$.
        momentum: $a$, below 1 unless all are drawn.
    """
    missed = 0.0 if drawn == total else (total - drawn) / (drawn * (1 - momentum))
    return missed + (1 - momentum)


def rows(values: PyTree[Array], blocks: Blocks) -> PyTree[Array]:
    """The rows of some blocks."""
    return jax.tree.map(lambda v: v[blocks], values)


def replaced_rows(values: PyTree[Array], blocks: Blocks, new: PyTree[Array]) -> PyTree[Array]:
    """All rows, those of some blocks replaced."""
    return jax.tree.map(lambda v, u: v.at[blocks].set(u.astype(v.dtype)), values, new)


def msvr(
    estimates: PyTree[Array], blocks: Blocks, new: PyTree[Array], old: PyTree[Array], momentum: Any, gain: Any
) -> PyTree[Array]:
    r"""$s_i \leftarrow (1-a)s_i + a\,G_i + \gamma\,(G_i - G_i')$ for the blocks drawn; the others stay.

    Multi-block single-probe variance-reduced estimation, where $G_i$ and $G_i'$ are the same sample, now and
    at the point of the step before.

    Args:
        estimates: $s$, a row a block.
        blocks: those drawn, each once.
        new: $G_i$, a row a block drawn.
        old: $G_i'$ likewise.
        momentum: $a$.
        gain: $\gamma$, see `gain`.

    Source:
        Jiang, Li, Wang, Zhang, Yang 2022, Multi-block-single-probe variance reduced estimator for coupled
        compositional optimization, arXiv 2207.08540.
    """
    mixed = jax.tree.map(
        lambda s, u, v: (1 - momentum) * s + momentum * u + gain * (u - v), rows(estimates, blocks), new, old
    )
    return replaced_rows(estimates, blocks, mixed)


def storm(estimate: PyTree[Array], new: PyTree[Array], old: PyTree[Array], momentum: Any) -> PyTree[Array]:
    r"""$z \leftarrow (1-b)(z - G') + G$, of the same sample now and at the point of the step before.

    Source:
        Cutkosky, Orabona 2019, Momentum-based variance reduction in non-convex SGD, arXiv 1905.10018.
    """
    return jax.tree.map(lambda z, u, v: ((1 - momentum) * (z - v) + u).astype(z.dtype), estimate, new, old)
