"""Comparing solvers on your own problem.

A function that returns a problem and a start is all that `frechet compare` asks for: on the command line
`frechet compare examples/compare_your_own.py:problem --budget 3s`, from Python one call. Here it is robust
regression with the Huber loss and a sparsity penalty, on measurements with gross errors.
"""

# %%
# The problem: forty unknowns of which six matter, and a tenth of the measurements far off.
import tempfile

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import frechet as fr


def problem():
    """Sparse Huber regression, 300 measurements, 40 unknowns."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 40)) @ np.diag(np.geomspace(1, 10, 40))
    w = np.where(np.arange(40) < 6, 1.0, 0.0)
    y = X @ w + rng.normal(size=300) + 50 * (rng.random(300) < 0.1)
    return fr.Composite(fr.losses.Huber(X, y), fr.convex.L1(0.1)), jnp.zeros(40)


# %%
# Every solver that fits, from the same start, compiled before the clock starts. The folder holds
# `report.html`, an interactive page of the same runs.
if __name__ == "__main__":
    from frechet.workbench.comparing import compare

    with tempfile.TemporaryDirectory() as folder:
        found = compare(f"{__file__}:problem", budget="2s", seeds=1, tol=1e-8, out=folder, progress=False)
    print(found.sentence())
    least = min(record.objective for record in found.records if not record.failed)

    figure, axes = plt.subplots(figsize=(7, 4))
    for record in found.records:
        if record.failed:
            continue
        gap = np.maximum(record.columns["objective"] - least, 1e-15)
        axes.loglog(record.columns["seconds"] + 1e-5, gap, label=record.spec.solver, lw=1.2)
    axes.set(xlabel="seconds", ylabel="objective above the least found", ylim=(1e-14, None))
    axes.legend(fontsize=7, frameon=False, ncol=2)
    plt.show()
