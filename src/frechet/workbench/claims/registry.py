"""Claims: made by a decorator, found by walking this package, run one by one."""

import functools
import importlib
import pkgutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from frechet.workbench import catalogue
from frechet.workbench.claims.evidence import Evidence
from frechet.workbench.comparing.loading import last_line
from frechet.workbench.errors import UserError


@dataclass(frozen=True)
class Claim:
    """A statement from a paper and the function that puts it to the test.

    Attributes:
        system: id of the system that makes it.
        statement: what is claimed, in words, with its number.
        function: takes nothing, returns `Evidence`.
        fast: whether it takes seconds; the tests run these, ``frechet verify`` runs all.
    """

    system: str
    statement: str
    function: Callable[[], Evidence]
    fast: bool = True

    @property
    def name(self) -> str:
        """System and function."""
        return f"{self.system}:{self.function.__name__}"

    def __call__(self) -> Evidence:
        return self.function()

    def check(self, precision: str = "float64") -> "Verdict":
        """Runs it; an exception is a claim that does not hold.

        Args:
            precision: ``"float64"`` or ``"float32"``, JAX's while it runs.
        """
        import jax

        start = time.perf_counter()
        try:
            with jax.enable_x64(precision == "float64"):
                evidence = self()
            if not isinstance(evidence, Evidence):
                raise TypeError(f"{self.name} returned {type(evidence).__name__}; it should return Evidence")
        except Exception as error:
            return Verdict(self, None, time.perf_counter() - start, error)
        return Verdict(self, evidence, time.perf_counter() - start)


@dataclass(frozen=True)
class Verdict:
    """What became of a claim.

    Attributes:
        claim: the claim.
        evidence: what it returned; None if it raised.
        seconds: it took.
        error: what it raised.
    """

    claim: Claim
    evidence: Evidence | None
    seconds: float
    error: Exception | None = None

    @property
    def holds(self) -> bool:
        """Whether it held."""
        return self.evidence is not None and self.evidence.holds

    @property
    def reason(self) -> str:
        """What it raised, on one line; empty if nothing."""
        return "" if self.error is None else last_line(self.error)


def claim(system: str, statement: str, *, fast: bool = True) -> Callable[[Callable[[], Evidence]], Claim]:
    """Makes a function that returns `Evidence` into a claim of a system of the catalogue.

    Args:
        system: the system's id.
        statement: what is claimed, in words, with its number.
        fast: whether it takes seconds rather than minutes.

    Raises:
        UserError: the catalogue has no such system.
    """
    catalogue.system(system)
    return lambda function: Claim(system, statement, function, fast)


@functools.cache
def _found() -> tuple[Claim, ...]:
    package = importlib.import_module(__package__ or "")
    modules = [
        importlib.import_module(m.name)
        for m in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    ]
    # In the order they are written; a claim that another module imports is still one claim.
    return tuple(dict.fromkeys(c for m in modules for c in vars(m).values() if isinstance(c, Claim)))


def claims(system: str | None = None, *, slow: bool = True) -> list[Claim]:
    """Claims in the order they are written.

    Args:
        system: a system's id; None for every system.
        slow: whether to include those that take minutes.

    Raises:
        UserError: the catalogue has no such system.
    """
    if system is not None:
        catalogue.system(system)
    return [c for c in _found() if system in (None, c.system) and (slow or c.fast)]


def verify(system: str, *, slow: bool = True, precision: str = "float64") -> Iterator[Verdict]:
    """Runs the claims of a system, yielding each verdict as it is reached.

    Args:
        system: its id.
        slow: whether to include those that take minutes.
        precision: ``"float64"`` or ``"float32"``.

    Raises:
        UserError: there is no such system, or nothing is claimed for it.
    """
    found = claims(system, slow=slow)
    if not found:
        raise UserError(f"{system} has no {'' if slow else 'fast '}claims yet; see CONTRIBUTING.md")
    for c in found:
        yield c.check(precision)
