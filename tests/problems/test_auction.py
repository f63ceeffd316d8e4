"""Smoothed auctions: pseudo-gradients player by player, the hard auction's loss, and what users get wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr
from frechet.problems import first_price, second_price

RNG = np.random.default_rng(0)


def linear(theta, value):
    return theta["slope"] * value + theta["least"]


def parameters(bidders, items=()):
    return tuple(
        {"slope": jnp.asarray(0.3 + 0.1 * i), "least": jnp.full(items, 0.05 * i)} for i in range(bidders)
    )


def smoothed_utility(bids, values, i, price, temperature):
    """In NumPy, of shapes (draws, bidders, items)."""
    e = np.exp((bids - bids.max(axis=1, keepdims=True)) / temperature)
    share = e / e.sum(axis=1, keepdims=True)
    return np.mean(np.sum(share[:, i] * (values[:, i] - price(bids)), axis=-1))


@pytest.mark.parametrize(
    "price, hard",
    [(first_price, lambda b: b.max(axis=1)), (second_price, lambda b: np.sort(b, axis=1)[:, -2])],
)
@pytest.mark.parametrize("items", [(), (2,)])
def test_the_operator_is_each_bidders_own_slope(price, hard, items):
    """By central differences of utilities in NumPy."""
    values = RNG.uniform(size=(50, 3, *items))
    with jax.enable_x64():
        theta = parameters(3, items)
        auction = fr.SmoothedAuction(linear, values, price, temperature=0.1, shared=False)
        found = auction.operator(theta)

        def bids(slopes):
            least = np.stack([np.asarray(t["least"]) for t in theta])
            return (slopes[:, None] * values.reshape(50, 3, -1) + least.reshape(3, -1)).reshape(50, 3, -1)

        slopes = np.array([float(t["slope"]) for t in theta])
        for i in range(3):
            ends = [
                smoothed_utility(bids(slopes + h * np.eye(3)[i]), values.reshape(50, 3, -1), i, hard, 0.1)
                for h in (1e-6, -1e-6)
            ]
            assert float(found[i]["slope"]) == pytest.approx(-(ends[0] - ends[1]) / 2e-6, abs=1e-8)


def test_a_shared_strategy_follows_the_mean_of_the_bidders_slopes():
    values = RNG.uniform(size=(40, 3))
    with jax.enable_x64():
        one = parameters(2)[1]
        apart = fr.SmoothedAuction(linear, values, temperature=0.1, shared=False).operator((one,) * 3)
        shared = fr.SmoothedAuction(linear, values, temperature=0.1).operator(one)
        mean = jax.tree.map(lambda *v: sum(v) / 3, *apart)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), shared, mean)


def test_draws_can_be_sampled():
    values = RNG.uniform(size=(10, 2))
    auction = fr.SmoothedAuction(lambda t, v: t * v, values, temperature=0.1)
    t = jnp.asarray(0.6)
    terms = [float(auction.sample_operator(t, jnp.array([i]))) for i in range(10)]
    assert float(auction.operator(t)) == pytest.approx(np.mean(terms), rel=1e-5)
    assert auction.count == 10 and "sample" in auction.offers()


def test_the_loss_is_that_of_the_auction_itself():
    """Of bids of 0.8 of the value against the same: at value v the best bid is v/2, which wins with v/1.6."""
    n = 400
    values = np.stack([(np.arange(n) + 0.5) / n, RNG.permutation((np.arange(n) + 0.5) / n)], axis=1)
    auction = fr.SmoothedAuction(lambda t, v: t * v, values, temperature=0.01)
    lost = auction.utility_loss(jnp.asarray(0.8), grid=201, at=n, draws=n)[0]
    v = values[:, 0]
    expected = np.mean(v / 2 * np.minimum(v / 1.6, 1) - 0.2 * v * v)
    # bids on a grid of 1/200 and 400 draws
    assert float(lost) == pytest.approx(expected, abs=2e-3)


def test_an_implicit_derivative_in_the_temperature():
    """Of the equilibrium, against a central difference."""
    values = RNG.uniform(size=(500, 2))  # where bids are the same the price has a kink
    with jax.enable_x64():

        def equilibrium(temperature):
            auction = fr.SmoothedAuction(lambda t, v: t * v, values, temperature=temperature)
            return fr.solve(auction, jnp.asarray(0.5), tol=1e-11).x

        slope = jax.jit(jax.grad(equilibrium))(0.1)
        ends = jax.jit(jax.vmap(equilibrium))(jnp.array([0.1 + 1e-4, 0.1 - 1e-4]))
        assert float(slope) == pytest.approx(float(ends[0] - ends[1]) / 2e-4, rel=1e-4)


def test_bad_input_says_what_is_wrong():
    with pytest.raises(ValueError, match=r"two bidders or more, got \(5, 1\)"):
        fr.SmoothedAuction(lambda t, v: t * v, np.ones((5, 1)))
    with pytest.raises(ValueError, match="temperature must be above zero"):
        fr.SmoothedAuction(lambda t, v: t * v, np.ones((5, 2)), temperature=0.0)
    with pytest.raises(TypeError, match="strategy must be callable, got float"):
        fr.SmoothedAuction(1.0, np.ones((5, 2)))  # pyright: ignore
