"""Sealed-bid auctions, smoothed so that their equilibria can be learnt by gradients."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree, Scalar

from frechet.convex.function import Function
from frechet.convex.parameters import parameter
from frechet.convex.zero import Zero
from frechet.core import lift
from frechet.problems.inclusion import Inclusion

Bids = Float[Array, "bidders *items"]


def first_price(bids: Bids) -> Float[Array, " *items"]:
    """What the winner of each item pays: the highest bid."""
    # Not the maximum: its gradient divides by how many bids equal it, none where compilers round twice.
    return jnp.sort(bids, axis=0)[-1]


def second_price(bids: Bids) -> Float[Array, " *items"]:
    """What the winner of each item pays: the second highest bid."""
    return jnp.sort(bids, axis=0)[-2]


class SmoothedUtilities(eqx.Module):
    r"""Minus the bidders' pseudo-gradient of mean smoothed utilities over draws of their values.

    Attributes:
        strategy: ``strategy(theta, values)``, the bids of one bidder.
        values: draws of all bidders' values.
        price: what an item costs, of the bids for it.
        temperature: of the allocation.
        shared: whether all bidders have one strategy.
    """

    strategy: Callable
    values: Float[Array, "draws bidders *items"]
    price: Callable = eqx.field(static=True)
    temperature: Scalar
    shared: bool = eqx.field(static=True)

    def __call__(self, z: PyTree[Array]) -> PyTree[Array]:
        return jax.grad(self.cost)(z, z)

    def cost(self, z: PyTree[Array], rivals: PyTree[Array]) -> Scalar:
        """A number whose gradient in ``z`` holds each bidder's own: its rivals bid by other parameters."""
        bids, others = self.bids(z, self.values), self.bids(rivals, self.values)
        m = bids.shape[1]

        def utility(i: int) -> Scalar:
            own = jnp.concatenate([others[:, :i], bids[:, i : i + 1], others[:, i + 1 :]], axis=1)
            share = jax.nn.softmax(own / self.temperature, axis=1)[:, i]
            return jnp.mean(
                jnp.sum(share * (self.values[:, i] - jax.vmap(self.price)(own)), axis=range(1, share.ndim))
            )

        total = functools.reduce(jnp.add, [utility(i) for i in range(m)])
        return -total / m if self.shared else -total

    def bids(self, z: PyTree[Array], values: Array) -> Array:
        """The bids at those values, in their form."""
        play = lambda theta, v: lift.call(self.strategy, theta, v)  # noqa: E731
        if self.shared:
            return jax.vmap(jax.vmap(play, (None, 0)), (None, 0))(z, values)
        parts = jax.tree.structure(z, is_leaf=lambda v: v is not z).flatten_up_to(z)
        of_one = [jax.vmap(play, (None, 0))(theta, values[:, i]) for i, theta in enumerate(parts)]
        return jnp.stack(of_one, axis=1)

    @property
    def count(self) -> int:
        """How many draws there are."""
        return self.values.shape[0]

    def sampled(self, indices: Int[Array, " batch"]) -> "SmoothedUtilities":
        """Over the draws at ``indices``."""
        return lift.replaced(self, values=self.values[indices])

    def offers(self) -> dict[str, str]:
        """The oracles beyond the operator."""
        return {"sample": "the pseudo-gradient over some draws"}

    def lifted(self, z: PyTree[Array]) -> "SmoothedUtilities":
        """With the strategy made a pytree."""
        theta = z if self.shared else _first(z)
        values = jax.ShapeDtypeStruct(self.values.shape[2:], self.values.dtype)
        strategy = lift.lift(self.strategy, theta, values, what="strategy")
        return self if strategy is self.strategy else lift.replaced(self, strategy=strategy)


class SmoothedAuction(Inclusion):
    r"""A Bayes-Nash equilibrium of a sealed-bid auction, by gradients of smoothed utilities.

    Bidder $i$ draws a value $v_i$ for each item, bids $b_i = \beta(\theta_i, v_i)$ and has the expected
    utility $\mathbb E[x_i(b) v_i - p_i(b)]$. Who wins jumps with the bids, so the gradient along a draw sees
    what is paid and nothing of what is won. Here every item is shared out,

    $$x_i(b) = \frac{e^{b_i/\tau}}{\sum_j e^{b_j/\tau}}, \qquad p_i(b) = x_i(b)\,p(b),$$

    with the auction's own price $p$ split alike. Utilities differ from those of the auction by an amount that
    vanishes with the temperature $\tau$, and so do equilibria. The operator is the pseudo-gradient over the
    draws, each bidder's in its own parameters; its mean is over given draws, of which batches may be taken.
    Draws have to be so many that bids within $\tau$ of each other are common.

    ``measures`` judge strategies by the auction itself: ``utility_loss`` is what a bidder could gain by the
    best bids from a grid, on average over its values and relative to nothing (in units of utility).

    Args:
        strategy: ``strategy(theta, values)``, one bidder's bids: from values of shape ``(items,)``, or a
            scalar where there is one item, to bids in the same form, at least 0.
        values: draws, shape (draws, bidders) or (draws, bidders, items), at least 0.
        price: `first_price`, `second_price` or another function of the bids for the items.
        temperature: $\tau$, in units of bids; 0.01 for values between 0 and 1.
        shared: whether the point is one $\theta$ for all bidders, who have to be alike; else it is a sequence
            with one for each.
        g: the proximable part.

    Raises:
        TypeError: a part of the wrong kind.
        ValueError: values of another shape, or fewer than two bidders.

    Source:
        Kohring, Pieroth, Bichler 2023, Enabling first-order gradient-based learning for equilibrium
        computation in markets, ICML, arXiv 2303.09500.

    Example:
        Two bidders with values between 0 and 1 bid half of them where the winner pays its own bid:

        >>> import jax, jax.numpy as jnp
        >>> import frechet as fr
        >>> values = jax.random.uniform(jax.random.key(0), (4096, 2))
        >>> auction = fr.SmoothedAuction(lambda theta, v: theta * v, values, temperature=0.02)
        >>> descent = [float(auction.operator(jnp.asarray(theta))) for theta in (0.4, 0.6)]
        >>> descent[0] < 0 < descent[1]
        True
    """

    def __init__(
        self,
        strategy: Callable[[PyTree[Array], Array], Array],
        values: Any,
        price: Callable[[Bids], Array] = first_price,
        *,
        temperature: Any = 0.01,
        shared: bool = True,
        g: Function | None = None,
    ):
        for name, part in {"strategy": strategy, "price": price}.items():
            if not callable(part):
                raise TypeError(f"{name} must be callable, got {type(part).__name__}")
        values = jnp.asarray(values)
        if values.ndim not in (2, 3) or values.shape[1] < 2:
            raise ValueError(
                "values need the shape (draws, bidders) or (draws, bidders, items) with two bidders or more, "
                f"got {values.shape}"
            )
        temperature = parameter("temperature", temperature, positive=True)
        self.F = SmoothedUtilities(
            strategy, values, price, jnp.asarray(temperature, values.dtype), bool(shared)
        )
        self.g = Zero() if g is None else g

    def bids(self, z: PyTree[Array], values: Array) -> Array:
        """What the bidders bid at values of shape (draws, bidders, ...)."""
        return self.F.bids(z, values)  # pyright: ignore[reportFunctionMemberAccess]

    def utility_loss(
        self, z: PyTree[Array], *, grid: int = 64, at: int = 64, draws: int = 2048
    ) -> Float[Array, " bidders"]:
        """What each bidder could gain by deviating, in the auction as it is, against the others' strategies.

        Items are looked at one by one. Where the strategy treats them together, it is a lower bound.

        Args:
            z: the strategies' parameters.
            grid: how many bids are tried, evenly from 0 to the highest value.
            at: at how many of the bidder's values, its first draws.
            draws: how many draws of the others are averaged over.
        """
        F: Any = self.F
        values = F.values[:draws]
        bids = jax.lax.stop_gradient(F.bids(z, values))
        tried = jnp.linspace(0, jnp.max(F.values), grid, dtype=bids.dtype)

        def loss(i: int) -> Scalar:
            def utility(own: Array, value: Array) -> Array:
                """Mean over the draws of the others' bids, for each item."""
                placed = bids.at[:, i].set(jnp.broadcast_to(own, bids[:, i].shape))
                highest = jnp.max(placed, axis=1)
                winners = jnp.sum(placed == highest[:, None], axis=1)
                share = jnp.where(placed[:, i] == highest, 1 / winners, 0)
                return jnp.mean(share * (value - jax.vmap(F.price)(placed)), axis=0)

            def gain(value: Array, own: Array) -> Scalar:
                deviations = jax.lax.map(lambda b: utility(jnp.full_like(value, b), value), tried)
                return jnp.sum(jnp.maximum(jnp.max(deviations, axis=0) - utility(own, value), 0))

            gains = jax.lax.map(lambda a: gain(*a), (values[:at, i], bids[:at, i]))
            return jnp.mean(gains)

        return jnp.stack([loss(i) for i in range(1 if F.shared else bids.shape[1])])

    def measures(self, x: PyTree[Array]) -> dict[str, Scalar]:
        return {"utility_loss": jnp.max(self.utility_loss(x))}

    def offers(self) -> dict[str, str]:
        return super().offers() | {"players": "parts that have objectives of their own"}


def _first(z: PyTree[Array]) -> PyTree[Array]:
    return jax.tree.structure(z, is_leaf=lambda v: v is not z).flatten_up_to(z)[0]
