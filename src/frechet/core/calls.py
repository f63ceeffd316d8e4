"""How often a solver has used each oracle."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Int


def _zero() -> Array:
    return jnp.zeros((), int)


class Calls(eqx.Module):
    """Oracle counts so far; part of every solver's state.

    A method's complexity is a statement about these numbers, so they are exact: a trial that a line
    search rejects is counted like one it accepts.

    Attributes:
        value: evaluations of the smooth part (or residual) alone.
        gradient: gradients of the smooth part.
        hvp: Hessian-vector (or Jacobian-vector) products.
        prox: proximal maps and projections of the nonsmooth part.
        linear_min: linear minimisations over a set.
        coordinate: updates of one coordinate or block (partial gradient and one-dimensional prox).
        factorisation: matrix factorisations.
        sample: gradients of one term of a finite sum.
        message: bits sent between nodes.

    Example:
        >>> calls = Calls().add(value=1, gradient=1)
        >>> int(calls.add(gradient=2).gradient)
        3
    """

    value: Int[Array, ""] = eqx.field(default_factory=_zero)
    gradient: Int[Array, ""] = eqx.field(default_factory=_zero)
    hvp: Int[Array, ""] = eqx.field(default_factory=_zero)
    prox: Int[Array, ""] = eqx.field(default_factory=_zero)
    linear_min: Int[Array, ""] = eqx.field(default_factory=_zero)
    coordinate: Int[Array, ""] = eqx.field(default_factory=_zero)
    factorisation: Int[Array, ""] = eqx.field(default_factory=_zero)
    sample: Int[Array, ""] = eqx.field(default_factory=_zero)
    message: Int[Array, ""] = eqx.field(default_factory=_zero)

    def add(self, **counts) -> "Calls":
        """A copy with each named count increased by an integer (a Python one or a traced scalar)."""
        unknown = counts.keys() - set(self.__dataclass_fields__)
        if unknown:
            raise ValueError(f"unknown oracle {sorted(unknown)}; known are {list(self.__dataclass_fields__)}")
        return Calls(
            **{k: (getattr(self, k) + counts.get(k, 0)).astype(int) for k in self.__dataclass_fields__}
        )

    def asdict(self) -> dict:
        """The counts by name."""
        return {k: getattr(self, k) for k in self.__dataclass_fields__}
