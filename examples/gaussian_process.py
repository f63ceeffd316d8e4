"""A Gaussian process with bounds on its hyperparameters.

The marginal likelihood of a Gaussian process is flat where a length scale is far too long and has no maximum
where noise may vanish. Bounds keep the search where the model means something; L-BFGS-B never evaluates the
likelihood outside of them.
"""

# %%
# Thurber's 37 measurements of electron mobility, standardised.
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import frechet as fr
from frechet.workbench.data import thurber

jax.config.update("jax_enable_x64", True)

x, y = map(jnp.asarray, thurber())
x, y = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()


def kernel(log, a, b):
    return jnp.exp(2 * log["amplitude"]) * jnp.exp(
        -0.5 * ((a[:, None] - b[None]) / jnp.exp(log["length"])) ** 2
    )


def negative_log_likelihood(log):
    K = kernel(log, x, x) + jnp.exp(2 * log["noise"]) * jnp.eye(len(x))
    L = jnp.linalg.cholesky(K)
    whitened = jax.scipy.linalg.solve_triangular(L, y, lower=True)
    return 0.5 * whitened @ whitened + jnp.sum(jnp.log(jnp.diag(L))) + 0.5 * len(x) * jnp.log(2 * jnp.pi)


# %%
# Logarithms of amplitude, length scale and noise, between 1/100 and 10 (noise: 1/100 and 1). The search is in
# one compiled call, so it runs from many starts at once.
lower = {"amplitude": jnp.log(0.01), "length": jnp.log(0.01), "noise": jnp.log(0.01)}
upper = {"amplitude": jnp.log(10.0), "length": jnp.log(10.0), "noise": 0.0}
problem = fr.Bounded(negative_log_likelihood, lower, upper)


def search(key):
    keys = dict(zip(lower, jax.random.split(key, 3), strict=True))
    start = jax.tree.map(lambda k, low, up: jax.random.uniform(k, (), float, low, up), keys, lower, upper)
    return fr.solve(problem, start, fr.solvers.LBFGSB(), tol=1e-6)


found = jax.jit(jax.vmap(search))(jax.random.split(jax.random.key(0), 20))
likelihoods = jax.vmap(problem.objective)(found.x)
best = jax.tree.map(lambda v: v[jnp.argmin(likelihoods)], found.x)
print(f"{found.status}; {int(jnp.sum(likelihoods < likelihoods.min() + 1e-3))} of 20 reach the best optimum")
print({name: round(float(jnp.exp(v)), 4) for name, v in best.items()})

# %%
# All starts end at the same optimum. Some of them stall: with noise this small the kernel matrix is badly
# conditioned, and rounding allows no smaller gradient. The status says so.

fine = jnp.linspace(x.min() - 0.3, x.max() + 0.3, 300)
K = kernel(best, x, x) + jnp.exp(2 * best["noise"]) * jnp.eye(len(x))
cross = kernel(best, fine, x)
mean = cross @ jnp.linalg.solve(K, y)
variance = jnp.exp(2 * best["amplitude"]) - jnp.sum(cross * jnp.linalg.solve(K, cross.T).T, axis=1)
band = 2 * jnp.sqrt(jnp.maximum(variance, 0))

figure, axes = plt.subplots(figsize=(7, 3.5))
axes.fill_between(fine, mean - band, mean + band, alpha=0.2, label="± 2 standard deviations")
axes.plot(fine, mean, label="posterior mean")
axes.plot(x, y, "k.", ms=4, label="measured")
axes.set(xlabel="logarithm of the density, standardised", ylabel="electron mobility, standardised")
axes.legend(frameon=False)
figure.tight_layout()
plt.show()
