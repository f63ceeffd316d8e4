"""What every test shares: the precision it runs in, and compiled programs only while its file runs."""

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


@pytest.fixture(scope="module", autouse=True)
def compiled_programs_are_dropped() -> Iterator[None]:
    """A compiled program holds memory maps; Linux grants 65,530, and thousands of tests need more."""
    yield
    jax.clear_caches()
