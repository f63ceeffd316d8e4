"""What it takes to be minimised by gradients alone."""

from typing import Any, ClassVar

from jaxtyping import Array, Int, PyTree

from frechet.problems.differentiable import Differentiable


class Minimisation(Differentiable):
    """A problem whose ``x`` is free: what an optimizer of training loops can take.

    One that is a mean of many terms also has ``count`` and ``sample_value_and_gradient``.

    Attributes:
        batch_size: terms a batch, where the problem prescribes it; None where it does not.
    """

    batch_size: ClassVar[int | None] = None

    def update_arguments(self, x: PyTree[Array], indices: Int[Array, " batch"] | None) -> dict[str, Any]:
        """What an optimizer may want besides value and gradient at ``x`` over those terms (None for all)."""
        return {}
