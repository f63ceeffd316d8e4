"""Two-class labels."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from frechet.losses.linear_model import LinearModel, is_concrete


class TwoClass(LinearModel):
    """A linear model of two classes: labels in {0, 1} or {-1, 1}, stored as -1.0 and 1.0."""

    def targets(self, y: Array) -> Float[Array, " n"]:
        y = super().targets(y)
        if is_concrete(y):
            seen = np.asarray(y)
            seen = seen[~np.isnan(seen)]
            if not ((np.abs(seen) == 1) | (seen == 0)).all() or (-1 in seen and 0 in seen):
                raise ValueError(f"y has labels {_some(seen)}; they need to be in {{0, 1}} or in {{-1, 1}}")
        # not a comparison y > 0, which would make a label of NaN
        return jnp.where(y == 0, -1, y)


def _some(values: np.ndarray) -> str:
    unique = [f"{v:g}" for v in np.unique(values)]
    return ", ".join(unique[:5] + ["..."] * (len(unique) > 5))
