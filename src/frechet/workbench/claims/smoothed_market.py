"""Claims of "Enabling first-order gradient-based learning ..." (Kohring et al. 2023, arXiv 2303.09500)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import frechet as fr
from frechet.problems import first_price, second_price
from frechet.workbench.claims import Evidence, claim
from frechet.workbench.suite.games import KNOTS, piecewise

SYSTEM = "smoothed-market"
LEAST = 1e-3
TEMPERATURES = np.array([0.1, 0.05, 0.02, 0.01])


def _linear(theta: Any, value: Any) -> Any:
    return theta * value


def _pairs(n: int) -> np.ndarray:
    """All pairs of n values that stand for uniform ones."""
    v = (np.arange(n) + 0.5) / n
    return np.stack(np.meshgrid(v, v), axis=-1).reshape(-1, 2)


def _learnt(values: np.ndarray, price: Any, temperatures: Any) -> np.ndarray:
    """What linear strategies end with, from 0.9."""
    solver = fr.solvers.GradientPlay(optax.adam(optax.cosine_decay_schedule(0.03, 150)))

    def at(temperature: Any) -> jax.Array:
        bounds = fr.convex.Box(LEAST, 1.5)  # at zero all bids are the same
        auction = fr.SmoothedAuction(_linear, values, price, temperature=temperature, g=bounds)
        return fr.solve(auction, jnp.asarray(0.9), solver, tol=0.0, max_steps=150).x

    return np.asarray(jax.jit(lambda t: jax.lax.map(at, t))(jnp.asarray(temperatures)))


@claim(
    SYSTEM,
    "against bids of half the value the smoothed best answers at values .3, .6, .9 are off by "
    "(.0315, .0105, .0445) at temperature .1 down to (0, 0, .001) at .01",
    fast=False,
)
def best_answers() -> Evidence:
    claimed = ((0.0315, 0.0105, 0.0445), (0.0055, 0.001, 0.0295), (0.0, 0.0, 0.0095), (0.0, 0.0, 0.001))
    values, others = np.array([0.3, 0.6, 0.9]), (np.arange(2000) + 0.5) / 2000
    tried = (np.arange(2000) + 0.5) / 2000
    play = lambda theta, v: theta[0] + theta[1] * v  # noqa: E731  # a constant, and half the value

    def slope(value: Any, temperature: Any, bid: Any) -> Any:
        draws = jnp.stack([jnp.full(2000, value), jnp.asarray(others)], axis=1)
        auction = fr.SmoothedAuction(play, draws, temperature=temperature, shared=False)
        return auction.operator(((bid, 0.0), (0.0, 0.5)))[0][0]

    def off(value: Any, temperature: Any) -> Any:
        costs = jnp.cumsum(jax.lax.map(lambda b: slope(value, temperature, b), jnp.asarray(tried)))
        return jnp.abs(jnp.argmin(costs) + 1 - value / 2 * 2000) / 2000

    of_all = jax.jit(jax.vmap(jax.vmap(off, (0, None)), (None, 0)))
    measured = np.asarray(of_all(jnp.asarray(values), jnp.asarray(TEMPERATURES)))
    rows = [
        {"temperature": t, "value": v, "claimed": c, "measured": m, "holds": abs(c - m) <= 2e-3}
        for t, cs, ms in zip(TEMPERATURES, claimed, measured, strict=True)
        for v, c, m in zip(values, cs, ms, strict=True)
    ]
    return Evidence.table(rows, note="bids on a grid of 5e-4; the costs are sums of slopes over it")


@claim(
    SYSTEM,
    "linear strategies learn .434, .459, .478 and .488 of the value as the temperature falls to .01 (the "
    "truth is a half); without smoothing they learn to bid nothing",
)
def learnt_slopes() -> Evidence:
    # Without smoothing a gradient sees what is won only where bids are the same, as on a grid they are.
    apart = np.random.default_rng(0).uniform(size=(4096, 2))
    slopes = [*_learnt(_pairs(100), first_price, TEMPERATURES), *_learnt(apart, first_price, [1e-9])]
    claimed = (0.434, 0.459, 0.478, 0.488)
    rows = [
        {"temperature": t, "claimed": c, "measured": s, "holds": abs(c - s) < 5e-3}
        for t, c, s in zip(TEMPERATURES, claimed, slopes, strict=False)
    ]
    rows.append({"temperature": 1e-9, "claimed": 0.0, "measured": slopes[-1], "holds": slopes[-1] <= LEAST})
    return Evidence.table(rows)


@claim(
    SYSTEM,
    "at the equilibrium smoothing costs .0189, .0064, .0012, .00030 of utility: as the temperature squared",
)
def bias() -> Evidence:

    @jax.jit
    def smoothed(values: Any, temperatures: Any) -> Any:
        def at(temperature: Any) -> Any:
            auction: Any = fr.SmoothedAuction(_linear, values, temperature=temperature)
            return -auction.F.cost(jnp.asarray(0.5), jnp.asarray(0.5))

        return jax.lax.map(at, temperatures)

    # The value times one half where one's own is the higher: a sixth.
    biases = np.asarray(smoothed(_pairs(500), jnp.asarray(TEMPERATURES))) - 1 / 6
    claimed = (-0.0189, -0.0064, -0.0012, -0.0003)
    rows = [
        {"temperature": t, "claimed": c, "measured": b, "holds": abs(b - c) <= max(6e-5, 0.005 * abs(c))}
        for t, c, b in zip(TEMPERATURES, claimed, biases, strict=True)
    ]
    return Evidence.table(rows, note="250,000 pairs of values on a grid")


@claim(
    SYSTEM,
    "two, three and five bidders learn to bid 1/2, 2/3 and 4/5 of their values where the winner pays its "
    "bid, and all of them where it pays the second highest",
    fast=False,
)
def equilibria() -> Evidence:
    from scipy.stats import qmc

    rows = []
    for bidders, price, truth, tolerance in (
        (2, first_price, 1 / 2, 0.03),
        (3, first_price, 2 / 3, 0.03),
        (5, first_price, 4 / 5, 0.03),
        (2, second_price, 1.0, 0.02),
        (5, second_price, 1.0, 0.02),
    ):
        values = qmc.Halton(bidders, rng=0).random(1 << 14)
        slope = float(_learnt(values, price, [0.01])[0])
        rows.append(
            {
                "bidders": bidders,
                "price": price.__name__,
                "claimed": truth,
                "measured": slope,
                "holds": abs(slope - truth) <= tolerance,
            }
        )
    return Evidence.table(rows)


@claim(
    SYSTEM,
    "a gradient of one evaluation, and its backward pass, varies less than one of 64 evaluations of the "
    "auction with perturbed strategies: a hundredth of the variance times the evaluations",
    fast=False,
)
def variance() -> Evidence:
    bidders, batch, repeats, perturbations, width = 3, 4096, 64, 64, 0.05
    theta = 2 / 3 * jnp.linspace(0, 1, KNOTS)

    def hard(theta: Any, others: Any, values: Any) -> Any:
        """The first bidder's utility in the auction itself."""
        own = jax.vmap(piecewise, (None, 0))(theta, values[:, 0])
        rest = jnp.max(jax.vmap(jax.vmap(piecewise, (None, 0)), (None, 0))(others, values[:, 1:]), axis=1)
        return jnp.mean(jnp.where(own > rest, values[:, 0] - own, 0))

    def evolution(key: Any, values: Any) -> Any:
        noise = width * jax.random.normal(key, (perturbations, KNOTS))
        gains = jax.lax.map(lambda e: hard(theta + e, theta, values), noise)
        return -jnp.mean((gains - jnp.mean(gains))[:, None] * noise, axis=0) / width**2

    def smoothed(key: Any, values: Any) -> Any:
        return fr.SmoothedAuction(piecewise, values, temperature=0.02).operator(theta)

    def spread(estimate: Any) -> float:
        def one(key: Any) -> Any:
            draw, noise = jax.random.split(key)
            return estimate(noise, jax.random.uniform(draw, (batch, bidders)))

        found = jax.jit(lambda keys: jax.lax.map(one, keys))(jax.random.split(jax.random.key(0), repeats))
        return float(jnp.sum(jnp.var(found, axis=0)))

    ratio = spread(smoothed) / spread(evolution)
    note = f"{repeats} batches of {batch} draws; the variance alone is {ratio:.2g} of the other's"
    return Evidence.at_most(0.01, 2 * ratio / perturbations, note=note)
