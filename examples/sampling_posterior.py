"""What the lasso does not say.

The lasso is the mode of a posterior density: normal noise, and a Laplace prior for the coefficients. The mode
has zeros; draws from the density say how sure one can be of each coefficient, zero or not. The density has a
kink wherever a coefficient is zero, where gradients jump; proximal samplers go through it.
"""

# %%
# Progression of diabetes from ten measurements (data that come with scikit-learn).
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes

import frechet as fr
from frechet.workbench import data

X, y = (jnp.asarray(v, jnp.float32) for v in data.diabetes())
names = load_diabetes().feature_names
variance, rate = 0.5, 20.0
posterior = fr.Density(lambda w: jnp.sum((X @ w - y) ** 2) / (2 * variance), fr.convex.L1(rate))
lasso = fr.solve(posterior.mode(), jnp.zeros(10), fr.solvers.FISTA(), tol=1e-2).x

# %%
# Thirty-two chains from the mode, by an unbiased sampler: it proposes along the Moreau envelope of the prior
# and accepts by the density itself. Of twenty moves one draw is kept.
samples = fr.sample(posterior, lasso, fr.solvers.MYMALA(), chains=32, draws=300, warmup=1500, thin=20)
size, agreement = np.min(samples.effective_sample_size()), np.max(samples.r_hat())
print(f"effective sample size at least {size:.0f} of {32 * 300}, R-hat at most {agreement:.3f}")
draws = np.asarray(samples.draws).reshape(-1, 10)
for name, mode, column in zip(names, lasso, draws.T, strict=True):
    print(
        f"{name:>3}: lasso {mode:6.3f}, mean {column.mean():6.3f}, above zero in {np.mean(column > 0):4.0%}"
    )

# %%
# On the left 90 % and 50 % intervals beside the lasso. On the right two coefficients of which it keeps one:
# the data tell them apart badly.
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), width_ratios=(3, 2))
places = np.arange(10)
p5, p25, p50, p75, p95 = np.percentile(draws, [5, 25, 50, 75, 95], axis=0)
left.hlines(places, p5, p95, color="C0", lw=2, alpha=0.5, label="90 %")
left.hlines(places, p25, p75, color="C0", lw=5, label="50 %")
left.plot(lasso, places, "kd", ms=5, label="lasso")
left.set_yticks(places, names)
left.axvline(0, color="0.8", lw=0.8, zorder=0)
left.set(xlabel="coefficient", ylim=(9.6, -0.6))
left.legend(fontsize=8)
i, j = names.index("s1"), names.index("s2")
right.hist2d(draws[:, i], draws[:, j], bins=60, cmap="Blues")
right.axvline(0, color="0.8", lw=0.8)
right.axhline(0, color="0.8", lw=0.8)
right.plot(lasso[i], lasso[j], "kd", ms=5)
right.set(xlabel="coefficient of s1", ylabel="coefficient of s2")
figure.tight_layout()
plt.show()
