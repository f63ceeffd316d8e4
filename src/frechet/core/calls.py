"""How often a solver has used each oracle."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

ORACLES = {
    "value": "evaluations of the smooth part (or residual) alone",
    "gradient": "gradients of the smooth part",
    "hvp": "Hessian-vector (or Jacobian-vector) products",
    "prox": "proximal maps and projections of the nonsmooth part",
    "linear_min": "linear minimisations over a set",
    "coordinate": "updates of one coordinate (partial gradient and one-dimensional prox)",
    "factorisation": "matrix factorisations",
    "sample": "gradients of one term of a finite sum",
    "sample_hvp": "Hessian-vector products of one term of a finite sum",
    "outer_gradient": "gradients of the upper objective of a bilevel problem",
    "outer_sample": "gradients of one term of that objective",
    "message": "bits sent between nodes",
    "matvec": "products with a matrix of the problem (or its transpose) and other passes over it",
    "jacobian": "whole Jacobians (or Hessians), a column or a row at a time",
}
_PLACE = {name: i for i, name in enumerate(ORACLES)}


def _none() -> Array:
    return jnp.zeros(len(ORACLES), int)


class Calls(eqx.Module):
    """Oracle counts so far; part of every solver's state. ``calls.gradient`` and so on read them.

    A method's complexity is a statement about these numbers, so they are exact: a trial that a line
    search rejects is counted like one it accepts.

    Attributes:
        counts: one count an oracle of `ORACLES`, in its order; one array, because a counter of its own each
            would cost a solver's inner loop a kernel each.

    Example:
        >>> calls = Calls().add(value=1, gradient=1)
        >>> int(calls.add(gradient=2).gradient)
        3
    """

    counts: Int[Array, "*batch oracles"] = eqx.field(default_factory=_none)

    def add(self, **counts) -> "Calls":
        """A copy with each named count increased by an integer (a Python one or a traced scalar)."""
        unknown = counts.keys() - ORACLES.keys()
        if unknown:
            raise ValueError(f"unknown oracle {sorted(unknown)}; known are {', '.join(ORACLES)}")
        fixed = np.zeros(len(ORACLES), int)
        total = self.counts
        for name, count in counts.items():
            if isinstance(count, int | np.integer):
                fixed[_PLACE[name]] += count
            else:
                unit = np.eye(len(ORACLES), dtype=int)[_PLACE[name]]
                total = total + unit * jnp.asarray(count, self.counts.dtype)
        return Calls((total + fixed).astype(self.counts.dtype))

    def asdict(self) -> dict[str, Array]:
        """The counts by name."""
        return {name: self.counts[..., i] for name, i in _PLACE.items()}

    def __getattr__(self, name: str) -> Array:
        if name in _PLACE:
            return self.counts[..., _PLACE[name]]
        raise AttributeError(f"Calls has no oracle {name!r}; known are {', '.join(ORACLES)}")
