"""What every test shares: the precision it runs in, and compiled programs only while its file runs."""

import os
from collections.abc import Iterator

# Thousands of small programs are compiled, each run for milliseconds: XLA is told not to try hard, which more
# than halves the time. It reads its flags once, before the first program; processes of tests inherit them.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_backend_optimization_level=0"
    " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
)

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import garbage, one_context

one_context.share()


def pytest_collection_finish() -> None:
    garbage.collect_rarely()


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
    one_context.renew()
