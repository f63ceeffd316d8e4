"""Transport plans that get sparser with k.

Entropic plans move some mass from everywhere to everywhere. `frechet.transport.TopK` bounds from how many
sources a target may receive: here 60 targets from 12 sources, each from any number, from two at most, or from
one. Targets always get what they should. What is maximised gets less smooth as $k$ falls, and where its
maximum is at a kink, as for $k = 2$ here, sources give a little too much or too little: the report says how
much. For $k = 1$ it is piecewise linear, and BFGS with a search that knows of kinks finds its maximum too.
"""

# %%
# Sources on a ring, targets around it, and a plan for each bound.
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import linear_sum_assignment

import frechet as fr

jax.config.update("jax_enable_x64", True)

rng = np.random.default_rng(0)
turn = 2 * np.pi * np.arange(12) / 12
sources = 0.45 * np.c_[np.cos(turn), np.sin(turn)] + 0.05 * rng.normal(size=(12, 2))
turn = 2 * np.pi * np.arange(60) / 60
far = 1 + 0.5 * np.cos(3 * turn)[:, None] ** 2
targets = far * np.c_[np.cos(turn), np.sin(turn)] + 0.05 * rng.normal(size=(60, 2))
cost = fr.transport.PointCloud(jnp.asarray(sources), jnp.asarray(targets))

plans = {}
for k in (12, 2, 1):
    problem = fr.Transport(cost, regulariser=fr.transport.TopK(k, gamma=40.0))
    solution = fr.solve(problem, problem.initial(), max_steps=500)
    report, plan = problem.report(solution.x), np.asarray(problem.plan(solution.x))
    plans[k] = plan, float(report.transport_cost)
    print(
        f"k = {k:2d}: {np.count_nonzero(plan):3d} entries, cost {float(report.transport_cost):.4f}, "
        f"marginals off by {float(report.marginal_error):.0e}, gap {float(report.duality_gap):.0e}"
    )

# %%
# With one source a target nothing is split: each source has five targets, as in an assignment of five copies
# of the sources, which SciPy solves.
copies = np.repeat(np.asarray(cost.matrix()), 5, axis=0)
print(f"least cost of all plans: {copies[linear_sum_assignment(copies)].mean():.4f}")

# %%
# A line for every entry of a plan, as thick as the mass that goes along it.
figure, axes = plt.subplots(1, 3, figsize=(10, 3.8), sharex=True, sharey=True)
colours = plt.get_cmap("hsv")(np.arange(12) / 12)
for ax, (k, (plan, paid)) in zip(axes, plans.items(), strict=True):
    for i, j in zip(*np.nonzero(plan), strict=True):
        ends = np.stack([sources[i], targets[j]])
        ax.plot(*ends.T, color=colours[i], lw=150 * plan[i, j], alpha=0.8, zorder=1)
    ax.scatter(*sources.T, s=45, c=colours, edgecolor="k", zorder=2)
    ax.scatter(*targets.T, s=9, color="k", zorder=2)
    bound = "any number of sources" if k == 12 else f"at most {k} source{'s' * (k > 1)}"
    ax.set_title(f"{bound} a target\n{np.count_nonzero(plan)} entries, cost {paid:.3f}", fontsize=9)
    ax.set_aspect("equal")
    ax.axis("off")
figure.tight_layout()
plt.show()
