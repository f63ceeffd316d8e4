"""Every declared optimizer keeps shardings, on four devices that are one."""

import os
import subprocess
import sys

SCRIPT = """
import jax
from frechet.optimizers.registry import optimizers
from frechet.workbench.checking import yield_optimizer_checks

assert jax.device_count() == 4
for name, entry in optimizers().items():
    try:
        dict(yield_optimizer_checks(entry.factory))["keeps_shardings"]()
    except Exception as error:
        print(f"{name}: {type(error).__name__}: {error}")
"""


def test_shardings_are_kept() -> None:
    flags = os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=4"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == ""
