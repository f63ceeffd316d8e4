"""Plans as matrices with scaled rows and columns, whole or with the largest entries of every row alone."""

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from frechet.problems.transport import Potentials, Transport


class ScaledPlan(eqx.Module):
    r"""The plan $\mathrm{diag}(u) K \mathrm{diag}(v)$, of which scalings change two vectors only."""

    K: Float[Array, "m n"]
    u: Float[Array, " m"]
    v: Float[Array, " n"]

    def times(self, problem: Transport, w: Float[Array, " n"]) -> Float[Array, " m"]:
        """$Pw$: one product."""
        return self.u * problem.product(self.K, self.v * w)

    def transposed_times(self, problem: Transport, p: Float[Array, " m"]) -> Float[Array, " n"]:
        r"""$P^\top p$: one product."""
        return self.v * problem.transposed_product(self.K, self.u * p)

    def rows_squared(self, weights: Float[Array, " n"]) -> Float[Array, " m"]:
        r"""$\sum_j P_{ij}^2 w_j$, no product."""
        return self.u**2 * jnp.sum(self.K**2 * (self.v**2 * weights), 1)

    def largest(self, k: int) -> "LargestEntries":
        """The ``k`` largest entries of every row."""
        # Ranks need no more than single precision, in which CPUs have a fast selection.
        ranked = (self.K * self.v * self.u[:, None]).astype(jnp.float32)
        places = lax.top_k(ranked, k)[1]
        return LargestEntries(
            jnp.take_along_axis(self.K, places, 1) * self.v[places] * self.u[:, None], places
        )

    def none(self, k: int) -> "LargestEntries":
        """Zeros in the form of `largest`."""
        shape = (self.K.shape[0], k)
        return LargestEntries(jnp.zeros(shape, self.K.dtype), jnp.zeros(shape, jnp.int32))

    def swept(
        self, problem: Transport, at: Potentials, sweeps: int
    ) -> tuple["ScaledPlan", Potentials, Float[Array, " m"]]:
        """After Sinkhorn sweeps, two products each: the plan, its potentials and, by one more, row sums."""
        limits = jnp.finfo(self.K.dtype)
        most = limits.max**0.25  # of a row that has lost all of its mass

        def sweep(_: Array, scales: tuple) -> tuple:
            rows = problem.product(self.K, scales[1])
            u = jnp.minimum(problem.a / jnp.maximum(rows, limits.tiny), most)
            return u, problem.b / problem.transposed_product(self.K, u)

        u, v = lax.fori_loop(0, sweeps, sweep, (self.u, self.v))
        epsilon = problem.epsilon
        moved = Potentials(at.f + epsilon * jnp.log(u / self.u), at.g + epsilon * jnp.log(v / self.v))
        plan = ScaledPlan(self.K, u, v)
        return plan, moved, plan.times(problem, jnp.ones_like(v))


class LargestEntries(eqx.Module):
    """Some entries of every row of a plan, and the columns that they are in."""

    values: Float[Array, "m k"]
    places: Int[Array, "m k"]

    def times(self, w: Float[Array, " n"]) -> Float[Array, " m"]:
        """Their matrix times a vector."""
        return jnp.sum(self.values * w[self.places], 1)

    def transposed_times(self, p: Float[Array, " m"], n: int) -> Float[Array, " n"]:
        """Its transpose times a vector."""
        return jnp.zeros(n, p.dtype).at[self.places].add(self.values * p[:, None])
