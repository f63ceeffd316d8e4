"""Samplers on a logistic regression's posterior, against reference moments, and BlackJAX by itself.

Bayesian logistic regression on 569 tumours with 30 standardised features and a standard normal prior. The
reference is a run of the no-U-turn sampler of 40,000 draws, whose moments the suite keeps. For every sampler:
independent draws a second and a thousand gradients for the worst coordinate (ArviZ's bulk effective sample
size), and by how many Monte-Carlo errors the means are off, the worst of 30 coordinates. Up to 4 is noise;
an unadjusted sampler shows its bias there once its error is small enough. BlackJAX's MALA, with the step
size that ours found, is the peer.

    python benchmarks/sampling.py
"""

import time
import warnings

import blackjax
import jax
import jax.numpy as jnp
import numpy as np

import frechet as fr
from frechet.workbench import suite

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)
    import arviz

jax.config.update("jax_enable_x64", True)
DRAWS, WARMUP = 1000, 2000


def judged(draws: np.ndarray, true: fr.Moments, seconds: float, gradients: float) -> str:
    data = {"x": np.asarray(draws)}
    size = float(np.min(arviz.ess(data)["x"].values))
    error = arviz.mcse(data)["x"].values
    off = np.max(np.abs(draws.mean((0, 1)) - np.asarray(true.mean)) / error)
    spread = np.max(np.abs(np.sqrt(draws.var((0, 1)) / np.asarray(true.variance)) - 1))
    return (
        f"ESS {size:7.0f}  a second {size / seconds:7.0f}  a 1000 gradients {1000 * size / gradients:6.2f}  "
        f"means off by {off:5.1f} errors  deviations by {100 * spread:4.1f} %"
    )


def timed(name: str, sampler: fr.Solver, thin: int, case: suite.Case) -> fr.Samples:
    density, x0 = case.problem, case.x0
    options = {"draws": DRAWS, "warmup": WARMUP, "thin": thin}
    jax.block_until_ready(fr.sample(density, x0, sampler, **options).draws)
    begun = time.perf_counter()
    found = jax.block_until_ready(fr.sample(density, x0, sampler, **options, key=jax.random.key(1)))
    seconds = time.perf_counter() - begun
    true = density.moments
    print(f"{name:16}", judged(np.asarray(found.draws), true, seconds, int(found.calls.gradient)), flush=True)
    return found


def mala_of_blackjax(case: suite.Case, step: float, thin: int) -> None:
    """The peer: BlackJAX's own loop, chains side by side."""
    density, start = case.problem, case.x0.position
    mala = blackjax.mala(lambda w: -density.value(w), step)

    def chain(x: jax.Array, key: jax.Array) -> jax.Array:
        def draw(state, key):
            state = jax.lax.scan(lambda s, k: (mala.step(k, s)[0], None), state, jax.random.split(key, thin))[
                0
            ]
            return state, state.position

        state, _ = jax.lax.scan(draw, mala.init(x), jax.random.split(key, WARMUP // thin))
        return jax.lax.scan(draw, state, jax.random.split(jax.random.fold_in(key, 1), DRAWS))[1]

    run = jax.jit(jax.vmap(chain))
    keys = jax.random.split(jax.random.key(1), len(start))
    jax.block_until_ready(run(start, keys))
    begun = time.perf_counter()
    draws = np.asarray(run(start, jax.random.split(jax.random.key(2), len(start))))
    gradients = len(start) * (DRAWS * thin + WARMUP)
    print(f"{'BlackJAX MALA':16}", judged(draws, density.moments, time.perf_counter() - begun, gradients))


def main() -> None:
    case = suite.load("logistic-posterior")
    variance = case.problem.moments.variance
    S = fr.solvers
    timed("ULA", S.ULA(), 20, case)
    timed("SKROCK", S.SKROCK(), 5, case)
    timed("MALA", S.MALA(), 20, case)
    tuned = fr.solve(case.problem, case.x0, S.MALA(), max_steps=WARMUP)
    mala_of_blackjax(case, float(jnp.exp(jnp.mean(tuned.state.memory.pace.log_step))), 20)  # pyright: ignore
    timed("ProximalSampler", S.ProximalSampler(), 10, case)
    timed("HMC", S.BlackJAX("hmc"), 1, case)
    timed("NUTS", S.BlackJAX("nuts"), 1, case)
    timed("NUTS, scaled", S.BlackJAX("nuts", variances=variance), 1, case)


if __name__ == "__main__":
    main()
