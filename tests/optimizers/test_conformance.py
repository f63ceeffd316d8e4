"""Every declared optimizer does what users of optax expect of a transformation."""

import pytest

from frechet.optimizers.registry import optimizers
from frechet.workbench.checking import yield_optimizer_checks


@pytest.mark.parametrize("name", optimizers())
def test_conformance(name: str) -> None:
    for check, run in yield_optimizer_checks(optimizers()[name].factory):
        try:
            run()
        except AssertionError as failure:
            raise AssertionError(f"{check}: {failure}") from None
