"""Games that are learnt: auctions, firms, and the smallest of adversarial networks."""

import jax
import jax.numpy as jnp
import numpy as np

from frechet.convex import NonNegative
from frechet.problems import Game, Saddle, SmoothedAuction, first_price, second_price
from frechet.workbench.suite.registry import Case, problem

_AUCTIONS = (
    "Kohring, Pieroth, Bichler 2023, Enabling first-order gradient-based learning for equilibrium "
    "computation in markets, arXiv 2303.09500; values drawn"
)
KNOTS = 9
"""Values, evenly from 0 to 1, at which a strategy of `piecewise` says what to bid."""


def piecewise(theta: jax.Array, value: jax.Array) -> jax.Array:
    """A bid by interpolation between those at the knots; ``theta`` holds them."""
    return jnp.interp(value, jnp.linspace(0, 1, KNOTS, dtype=theta.dtype), theta)


def _auction(bidders: int, price) -> Case:
    values = np.random.default_rng(0).uniform(size=(1 << 14, bidders))
    auction = SmoothedAuction(piecewise, values, price, temperature=0.02, g=NonNegative())
    return Case(auction, 0.5 * jnp.linspace(0, 1, KNOTS))  # from bids of half one's value


@problem(
    "first-price-auction",
    title="Auction: 3 bidders for one item, the winner pays its bid; the equilibrium is to bid 2/3",
    source=_AUCTIONS,
)
def first_price_auction() -> Case:
    return _auction(3, first_price)


@problem(
    "second-price-auction",
    title="Auction: 3 bidders for one item, the winner pays the second highest bid; honesty is best",
    source=_AUCTIONS,
)
def second_price_auction() -> Case:
    return _auction(3, second_price)


@problem(
    "cournot",
    title="Game: 10 firms of different costs sell the same good",
    source="Cournot 1838, Principes mathematiques de la theorie des richesses; costs drawn",
)
def cournot() -> Case:
    """The price falls by what all sell together; firms that are too dear sell nothing."""
    costs = jnp.asarray(np.random.default_rng(0).uniform(0.2, 1.2, size=10))

    def losses(z):
        price = 1.5 - sum(z)
        return [-q * (price - c) for q, c in zip(z, costs, strict=True)]

    # What each could gain alone: its best answer to the others is (1.5 - c - others) / 2, if positive.
    def exploitability(z):
        sold = jnp.stack(z)
        room = 1.5 - costs - (jnp.sum(sold) - sold)
        best = jnp.maximum(room / 2, 0)
        return jnp.max(best * (room - best) - sold * (room - sold))

    game = Game(losses, NonNegative(), exploitability)
    return Case(game, tuple(jnp.full(10, 0.1)))


@problem(
    "dirac-gan",
    title="Saddle point: the smallest adversarial networks, a point mass and a linear discriminator",
    source="Mescheder, Geiger, Nowozin 2018, Which training methods for GANs do actually converge?, "
    "arXiv 1801.04406",
)
def dirac_gan() -> Case:
    """A logistic loss makes the rotation slower the farther out."""
    saddle = Saddle(lambda x, y: -jax.nn.softplus(-x * y))
    return Case(saddle, saddle.start((jnp.asarray(1.0), jnp.asarray(1.0))))
