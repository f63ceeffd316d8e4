"""A lasso path and its derivative in one vmap.

A lasso's solution is piecewise linear in its penalty. Solving for a hundred penalties at once gives the path;
the derivative of each solution, from `jax.jvp`, is the slope of its piece, so a handful of solves with their
derivatives predicts the rest of the path.
"""

# %%
# Ten measurements of 442 diabetes patients, and how the disease had progressed a year later.
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes

import frechet as fr

jax.config.update("jax_enable_x64", True)

data = load_diabetes()
X = data.data / data.data.std(axis=0)
y = (data.target - data.target.mean()) / data.target.std()
loss = fr.losses.Squared(X, y)


def weights(penalty):
    return fr.solve(fr.Composite(loss, fr.convex.L1(penalty)), jnp.zeros(10), fr.solvers.FISTA(), tol=1e-10).x


# %%
# The path, and the tangent at eight of its points.

penalties = jnp.linspace(1e-3, 0.5, 100)
path = jax.jit(jax.vmap(weights))(penalties)
few = penalties[6::13]
at, slope = jax.jit(jax.vmap(lambda p: jax.jvp(weights, (p,), (1.0,))))(few)

# %%
# The slope of a piece, from two points of the path on it, against the derivative. They agree wherever no
# weight enters or leaves between the two.
forward = (jax.vmap(weights)(few + 1e-4) - at) / 1e-4
same_support = jnp.all((jax.vmap(weights)(few + 1e-4) != 0) == (at != 0), axis=1)
error = jnp.max(jnp.abs(forward - slope), axis=1)
print(f"largest difference from finite differences: {jnp.max(jnp.where(same_support, error, 0)):.1e}")

# %%
# Lines are the solved path, dots the eight solutions, and the short strokes their derivatives.

figure, axes = plt.subplots(figsize=(7, 4))
lines = axes.plot(penalties, path, lw=1.2)
for j, line in enumerate(lines):
    axes.plot(few, at[:, j], "o", ms=3, color=line.get_color())
    for p, w, d in zip(np.asarray(few), np.asarray(at[:, j]), np.asarray(slope[:, j]), strict=True):
        axes.plot([p - 0.02, p + 0.02], [w - 0.02 * d, w + 0.02 * d], color=line.get_color(), lw=3, alpha=0.5)
axes.set(xlabel="penalty", ylabel="weight", title="lasso path on the diabetes data")
axes.legend(lines, data.feature_names, ncol=2, fontsize=8, frameon=False)
plt.show()
