"""Choosing an l1 penalty by its gradient.

How strong should the penalty of a sparse logistic regression be? Scan a grid, or differentiate the solution:
`jax.grad` goes through `fr.solve` by the implicit function theorem, so the loss on held-out patients has a
derivative with respect to the penalty, and plain descent can follow it.
"""

# %%
# The Wisconsin breast cancer data, halved into patients to fit and patients to judge by.
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler

import frechet as fr

jax.config.update("jax_enable_x64", True)

X, y = load_breast_cancer(return_X_y=True)
X = StandardScaler().fit_transform(X)
order = np.random.default_rng(0).permutation(len(y))
fit, held_out = order[::2], order[1::2]
loss, judge = fr.losses.Logistic(X[fit], y[fit]), fr.losses.Logistic(X[held_out], y[held_out])

# %%
# The weights as a function of the penalty, and the loss that judges it. Nothing here mentions derivatives.


def weights(log_penalty):
    problem = fr.Composite(loss, fr.convex.L1(jnp.exp(log_penalty)))
    return fr.solve(problem, jnp.zeros(X.shape[1]), fr.solvers.FISTA(), tol=1e-9).x


def criterion(log_penalty):
    return judge(weights(log_penalty))


# %%
# The whole path is one call under `vmap`: forty problems at once, each stopping when it is done.

grid = jnp.linspace(jnp.log(1e-4), jnp.log(3e-1), 40)
path = jax.jit(jax.vmap(weights))(grid)
values = jax.vmap(judge)(path)

# %%
# Descent on the logarithm of the penalty, from far off. Each iteration costs a solve and one linear solve.

value_and_slope = jax.jit(jax.value_and_grad(criterion))
log_penalty, steps = jnp.log(1e-1), []
for _ in range(15):
    value, slope = value_and_slope(log_penalty)
    steps.append((float(log_penalty), float(value)))
    log_penalty -= jnp.clip(60.0 * slope, -1.0, 1.0)
print(f"penalty {np.exp(steps[-1][0]):.2e}, held-out loss {steps[-1][1]:.5f}")
print(f"best of the grid: penalty {np.exp(grid[jnp.argmin(values)]):.2e}, loss {jnp.min(values):.5f}")

# %%
# Left, the regularisation path; right, the descent over the criterion.

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4))
left.semilogx(np.exp(grid), path, lw=1)
left.set(xlabel="penalty", ylabel="weights", title="solutions under vmap")
right.semilogx(np.exp(grid), values, color="0.6")
at, height = np.array(steps).T
right.semilogx(np.exp(at), height, "o-", ms=4)
right.set(xlabel="penalty", ylabel="held-out loss", title="descent by the hypergradient")
figure.tight_layout()
plt.show()
