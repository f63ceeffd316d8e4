"""What the methods that take whole sums or batches of terms share."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree, Scalar

from frechet.core.solver import Solver
from frechet.problems.bilevel import Bilevel
from frechet.solvers.stochastic.sampling import check_batch_size


class Batched(Solver):
    """A solver of bilevel problems that asks for batches of terms at both levels, or for whole sums.

    Attributes:
        asks: the oracles it needs of either kind.
        batch_size: terms a batch, drawn with replacement; whole sums when left out, and then the method is
            deterministic.
    """

    accepts: ClassVar[type] = Bilevel
    asks: ClassVar[frozenset[str]] = frozenset(
        {"outer gradient", "inner gradient", "inner hvp", "smooth lower level", "unique lower solution"}
    )
    batch_size: int | None = eqx.field(default=None, static=True, kw_only=True)

    def __check_init__(self):
        if self.batch_size is not None:
            check_batch_size(self.batch_size)

    @property
    def needs(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.asks | ({"outer sample", "inner sample"} if self.stochastic else set())

    @property
    def stochastic(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.batch_size is not None


def as_numbers_of(like: PyTree[Array], value: Any) -> Scalar:
    """A number in the real dtype of the arrays in ``like``, so that nothing it scales becomes wider."""
    return jnp.asarray(value, jnp.finfo(jnp.result_type(*jax.tree.leaves(like))).dtype)


def decayed(step: Any, t: Int[Array, ""], exponent: Any, like: PyTree[Array]) -> Scalar:
    """``step`` times t + 1 to the power of minus ``exponent``, as a number of ``like``."""
    return as_numbers_of(like, step * (1 + t) ** jnp.negative(exponent))
