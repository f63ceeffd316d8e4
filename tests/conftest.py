"""What every test shares: the precision it runs in."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest


@pytest.fixture(params=["float32", "float64"])
def precision(request: pytest.FixtureRequest) -> Iterator[np.dtype]:
    """Runs the test twice, in each precision users work in; the value is the dtype."""
    with jax.enable_x64(request.param == "float64"):
        yield jnp.dtype(request.param)
