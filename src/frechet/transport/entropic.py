"""Entropic regularisation of transport plans."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from frechet.convex.parameters import known, parameter
from frechet.transport.ground_cost import GroundCost
from frechet.transport.regulariser import Regulariser, Side


class Entropic(Regulariser):
    r"""$R(P) = \varepsilon\,\mathrm{KL}(P\,|\,ab^\top)$, with $\mathrm{KL}(P|Q) = \sum P\log(P/Q) - P + Q$.

    Plans are $a_i b_j e^{(f_i+g_j-C_{ij})/\varepsilon}$. Against regularisation by the entropy
    $\sum P\log P$, the plan is the same and the value differs by $\varepsilon(H(a) + H(b))$, with
    $H(a) = -\sum a\log a$.

    Args:
        epsilon: $\varepsilon > 0$.
        relative: whether ``epsilon`` is in units of the mean cost, which is a constant for derivatives.

    Raises:
        ValueError: ``epsilon`` is not above zero.

    Source: Cuturi 2013, Sinkhorn distances: lightspeed computation of optimal transport, arXiv 1306.0895;
    Peyré, Cuturi 2019, Computational optimal transport, arXiv 1803.00567.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> C = jnp.array([[0.0, 2.0], [2.0, 0.0]])
        >>> float(fr.Transport(C, regulariser=Entropic(0.5)).regulariser.epsilon)
        0.5
    """

    isolated: ClassVar[bool] = True
    offers: ClassVar[dict[str, str]] = {"entropic": "plans that are exponentials of the potentials"}

    epsilon: Any = eqx.field(default=0.05, converter=lambda v: parameter("epsilon", v, positive=True))
    relative: bool = eqx.field(default=True, static=True)

    def column(self, s: Float[Array, " m"], a: Float[Array, " m"], b: Scalar) -> Float[Array, " m"]:
        return jnp.exp(s / self.epsilon + (jnp.log(a) + jnp.log(b)))

    def conjugate(self, s: Float[Array, " m"], a: Float[Array, " m"], b: Scalar) -> Scalar:
        return self.epsilon * jnp.sum(self.column(s, a, b) - a * b)

    def value(self, p: Float[Array, " m"], a: Float[Array, " m"], b: Scalar) -> Scalar:
        some = p > 0
        log = jnp.where(some, jnp.log(jnp.where(some, p, 1) / (a * b)), 0)
        return self.epsilon * jnp.sum(p * log - p + a * b)

    def best(self, z: Float[Array, " m"], a: Float[Array, " m"], b: Scalar) -> Scalar:
        return -self.epsilon * jax.nn.logsumexp(z / self.epsilon + jnp.log(a))

    def resolved(self, cost: GroundCost) -> "Entropic":
        scale = jax.lax.stop_gradient(cost.mean()) if self.relative else 1
        if known(scale) and scale <= 0:
            raise ValueError(
                f"epsilon is in units of the mean cost, which is {float(scale):g}; give it in those of the "
                "cost, with relative=False"
            )
        return Entropic(jnp.asarray(self.epsilon * scale, cost.dtype), relative=False)

    def smallest(self, cost: GroundCost) -> tuple[str, Scalar, Scalar]:
        # Below, rounding of costs and potentials changes entries of the plan by factors.
        return "epsilon", self.epsilon, 32 * jnp.finfo(cost.dtype).eps * cost.largest()

    def unit(self, cost: GroundCost) -> Scalar:
        return self.epsilon

    def pulled(self, best: Float[Array, " n"], penalty: Any) -> Float[Array, " n"]:
        return penalty / (penalty + self.epsilon) * best

    def best_columns(self, cost: GroundCost, rows: Side, weight: Float[Array, " n"]) -> Float[Array, " n"]:
        return cost.soft_columns(rows.potential, jnp.log(rows.weight), self.epsilon)

    def plan(self, cost: GroundCost, rows: Side, columns: Side) -> Float[Array, "m n"]:
        exponents = self._exponents(rows), self._exponents(columns)
        return cost.entrywise(lambda c, r, s: jnp.exp(r + s - c / self.epsilon), *exponents)

    def marginals(
        self, cost: GroundCost, rows: Side, columns: Side
    ) -> tuple[Float[Array, " m"], Float[Array, " n"]]:
        return cost.exponential_sums(self._exponents(rows), self._exponents(columns), self.epsilon)

    def total_conjugate(self, cost: GroundCost, rows: Side, columns: Side) -> Scalar:
        g, b = columns
        mass = b * jnp.exp((g - self.best_columns(cost, rows, b)) / self.epsilon)
        return self.epsilon * (jnp.sum(mass) - jnp.sum(rows.weight) * jnp.sum(b))

    def _exponents(self, side: Side) -> Float[Array, " n"]:
        return side.potential / self.epsilon + jnp.log(side.weight)
