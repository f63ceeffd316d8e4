"""How a solve ended, as data that survives jit and vmap."""

import enum

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Int


class Ending(enum.IntEnum):
    """Reasons a solve stops."""

    RUNNING = 0
    CONVERGED = 1
    MAX_STEPS = 2
    STALLED = 3
    NONFINITE = 4
    BUDGET = 5
    INTERRUPTED = 6
    INFEASIBLE = 7
    UNBOUNDED = 8
    NONMONOTONE = 9


class Origin(enum.IntEnum):
    """Where a non-finite number was first seen."""

    NOWHERE = 0
    DATA = 1
    START = 2
    VALUE = 3
    OPTIMALITY = 4
    STEP = 5


_ADVICE = {
    Ending.RUNNING: "still running",
    Ending.CONVERGED: "converged: the residual is at or below the tolerance",
    Ending.MAX_STEPS: "max_steps: the step limit came first; for a tolerance, raise max_steps or loosen tol",
    Ending.STALLED: "stalled: rounding allows no further progress; loosen tol, rescale, or use float64",
    Ending.NONFINITE: "nonfinite: x is the last finite iterate",
    Ending.BUDGET: "budget: the time or oracle budget is spent",
    Ending.INTERRUPTED: "interrupted: stopped from outside; x is the latest iterate",
    Ending.INFEASIBLE: "infeasible: no point satisfies the constraints; x violates them least",
    Ending.UNBOUNDED: "unbounded: the objective falls without end; x is where the solver noticed",
    Ending.NONMONOTONE: "nonmonotone: two points show that F is not monotone, and x does not converge",
}
_ORIGIN = {
    Origin.NOWHERE: "",
    Origin.DATA: "the problem's data hold NaN or inf",
    Origin.START: "x0 holds NaN or inf",
    Origin.VALUE: "the objective is NaN or inf at x",
    Origin.OPTIMALITY: "the gradient or optimality map is NaN or inf at x",
    Origin.STEP: "the solver's step from x is NaN or inf; try a smaller step size",
}


class Status(eqx.Module):
    """How a solve ended: a code, and where a NaN arose if one did.

    A pytree of two integers, so that under ``vmap`` every member has its own. Compare with the class
    constants, ``status == Status.converged``; print it for a sentence.

    Attributes:
        code: an `Ending`.
        origin: an `Origin`; ``NOWHERE`` unless the code is ``NONFINITE``.
    """

    code: Int[Array, "*batch"]
    origin: Int[Array, "*batch"]

    @staticmethod
    def of(ending: Ending, origin: Origin = Origin.NOWHERE) -> "Status":
        """A scalar status."""
        return Status(jnp.asarray(ending, jnp.int32), jnp.asarray(origin, jnp.int32))

    @property
    def converged(self) -> Array:
        """Whether the tolerance was met, a boolean array."""
        return self.code == Ending.CONVERGED

    @property
    def name(self) -> str:
        """The ending's lower-case name; only for a concrete scalar status."""
        return Ending(int(self.code)).name.lower()

    def __str__(self) -> str:
        if jnp.ndim(self.code):
            codes = [Ending(int(c)).name.lower() for c in jnp.ravel(self.code)]
            return ", ".join(f"{n} {codes.count(n)}" for n in dict.fromkeys(codes))
        reason = _ORIGIN[Origin(int(self.origin))]
        return _ADVICE[Ending(int(self.code))] + (f" ({reason})" if reason else "")
