"""A Poisson regression that leaves its intercept alone.

Spikes of a simulated neuron are counted in bins of ten milliseconds; what drives it is a filter over the last
half second of a noisy stimulus. A group of coefficients is penalised, the intercept is not: parameters are a
dict and each part has a penalty of its own.
"""

# %%
# The stimulus, its last 50 values in every bin, and counts drawn from the model.
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import frechet as fr

jax.config.update("jax_enable_x64", True)

rng = np.random.default_rng(0)
lags = 50
t = np.arange(lags) * 0.01
truth = 1.2 * np.exp(-t / 0.05) * np.sin(2 * np.pi * t / 0.12)
stimulus = rng.standard_normal(4000 + lags - 1)
X = np.lib.stride_tricks.sliding_window_view(stimulus, lags)[:, ::-1]
counts = rng.poisson(np.exp(-1.0 + X @ truth))


# %%
# The deviance on one half of the bins, and a lasso on the filter only.


def deviance(parameters, rows, counts):
    log_rate = rows @ parameters["filter"] + parameters["intercept"]
    return jnp.mean(jnp.exp(log_rate) - counts * log_rate)


start = {"filter": jnp.zeros(lags), "intercept": jnp.zeros(())}


def fitted(weight):
    penalty = fr.convex.PerLeaf({"filter": fr.convex.L1(weight), "intercept": fr.convex.Zero()})
    problem = fr.Composite(lambda p: deviance(p, X[:2000], counts[:2000]), penalty)
    return fr.solve(problem, start, fr.solvers.FISTA(), tol=1e-7).x


# %%
# The penalty is tuned on the other half by Newton's method on its logarithm, with derivatives through the
# solution, the second one too.


def held_out(log_weight):
    return deviance(fitted(jnp.exp(log_weight)), X[2000:], counts[2000:])


both = jax.jit(lambda u: (held_out(u), jax.grad(held_out)(u), jax.hessian(held_out)(u)))
u = jnp.log(0.01)
for _ in range(5):
    value, slope, curvature = both(u)
    print(f"penalty {jnp.exp(u):.4f}, held-out deviance {value:.5f}, slope {slope:+.1e}")
    u = u - jnp.clip(slope / jnp.abs(curvature), -0.5, 0.5)
best, unpenalised = fitted(jnp.exp(u)), fitted(1e-8)
print(f"intercept {best['intercept']:.3f}, the truth is -1")

# %%

figure, axes = plt.subplots(figsize=(7, 3.5))
axes.plot(1e3 * t, truth, "0.2", lw=2, label="truth")
axes.plot(1e3 * t, unpenalised["filter"], lw=0.8, label="maximum likelihood")
axes.plot(1e3 * t, best["filter"], lw=1.5, label="lasso, tuned")
axes.set(xlabel="milliseconds before", ylabel="filter")
axes.legend(frameon=False)
figure.tight_layout()
plt.show()
