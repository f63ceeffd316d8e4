"""Variational inference from the path of an optimiser.

L-BFGS keeps pairs of moves and changes of gradient. They make an estimate of the inverse Hessian, hence a
Gaussian, at every point of the path; Pathfinder (Zhang, Carpenter, Gelman, Vehtari 2022, arXiv 2108.03782)
takes the one with the best evidence bound. All it needs from the solver is its state.
"""

# %%
# A Bayesian logistic regression on two features of the breast cancer data.
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import frechet as fr
from frechet.workbench.data import breast_cancer

jax.config.update("jax_enable_x64", True)

X, y = breast_cancer()
rows = jnp.asarray(X[:60, [0, 1]])
loss = fr.losses.Logistic(rows, jnp.asarray(y[:60]))


def negative_log_density(w):
    return 60 * loss(w) + 0.5 * w @ w / 25


# %%
# The path: a scan over the solver's own step, twelve of them. What `fr.solve` does is no more than that.
problem = fr.Composite(negative_log_density)
solver = fr.solvers.LBFGSB(history=6)
key = jax.random.key(0)


@jax.jit
def path(x0):
    begun = solver.init(problem, x0, key=key)

    def step(state, _):
        state = solver.step(problem, state, key=key)
        return state, state

    return jax.lax.scan(step, begun, None, length=12)[1]


states = path(jnp.array([1.0, 1.0]))


# %%
# The inverse Hessian that the pairs of a state imply, by the BFGS update of each in turn.


def inverse_hessian(state):
    newest = jnp.where(state.rho[-1] > 0, 1 / (state.rho[-1] * (state.y[-1] @ state.y[-1])), 1.0)

    def update(H, pair):
        s, y, rho = pair
        V = jnp.eye(len(s)) - rho * jnp.outer(y, s)
        return V.T @ H @ V + rho * jnp.outer(s, s), None

    return jax.lax.scan(update, newest * jnp.eye(state.s.shape[1]), (state.s, state.y, state.rho))[0]


def evidence_bound(state, key):
    """The mean of log p - log q over draws of the Gaussian at a point of the path, and that Gaussian."""
    H = inverse_hessian(state)
    center = state.x - H @ state.gradient
    L = jnp.linalg.cholesky(H)
    z = jax.random.normal(key, (200, 2))
    log_q = -0.5 * jnp.sum(z**2, axis=1) - jnp.sum(jnp.log(jnp.diag(L))) - jnp.log(2 * jnp.pi)
    log_p = -jax.vmap(negative_log_density)(center + z @ L.T)
    return jnp.mean(log_p - log_q), center, H


bounds, centers, covariances = jax.jit(jax.vmap(evidence_bound))(states, jax.random.split(key, 12))
best = int(jnp.nanargmax(bounds))
print(f"best evidence bound {bounds[best]:.3f}, at step {best + 1}")

# %%

grid = jnp.linspace(-7, 3, 200)
density = jax.vmap(lambda a: jax.vmap(lambda b: -negative_log_density(jnp.array([a, b])))(grid))(grid).T
angle = jnp.linspace(0, 2 * jnp.pi, 100)
ring = jnp.stack([jnp.cos(angle), jnp.sin(angle)])
figure, axes = plt.subplots(figsize=(5.5, 5))
axes.contour(grid, grid, density - density.max(), levels=[-8, -4, -2, -1, -0.5], colors="0.7", linewidths=0.8)
axes.plot(*states.x.T, "o-", ms=3, lw=0.8, label="L-BFGS")
for radius, style in ((1, "-"), (2, "--")):
    ellipse = centers[best][:, None] + radius * jnp.linalg.cholesky(covariances[best]) @ ring
    axes.plot(
        *ellipse, style, color="C1", lw=1.5, label="Gaussian, 1 and 2 deviations" if radius == 1 else None
    )
axes.set(xlabel="weight of the radius", ylabel="weight of the texture", xlim=(-5, 1.5), ylim=(-4, 1.5))
axes.legend(frameon=False)
figure.tight_layout()
plt.show()
