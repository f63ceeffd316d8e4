"""Claims of "Predictable Scale: Part I, Step Law" (Li et al. 2025, arXiv 2503.04715)."""

import warnings

import numpy as np

from frechet.optimizers.step_law import step_law_batch_size, step_law_learning_rate, step_law_schedule
from frechet.optimizers.step_law_fit import fit_step_law
from frechet.workbench.claims import Evidence, claim

SYSTEM = "step-law"


@claim(SYSTEM, "learning rate and batch size at three sizes are the published law's, to four digits")
def values() -> Evidence:
    published = (
        (1e9, 1e11, 1.6325e-3, 1.1077e6),
        (6e7, 1e10, 5.9845e-3, 2.9746e5),
        (7e9, 1e12, 8.266e-4, 4.125e6),
    )
    rows = []
    for n, d, rate, batch in published:
        got = {"learning rate": step_law_learning_rate(n, d), "batch size": step_law_batch_size(d)}
        off = max(abs(got["learning rate"] / rate - 1), abs(got["batch size"] / batch - 1))
        rows.append({"parameters": n, "tokens": d, **got, "holds": off < 1e-4})
    return Evidence.table(rows)


@claim(SYSTEM, "k times the parameters have k^-0.713 times the learning rate")
def homogeneity() -> Evidence:
    sizes = np.geomspace(6e7, 7e9, 9)
    slope = np.polyfit(np.log(sizes), np.log([step_law_learning_rate(n, 1e11) for n in sizes]), 1)[0]
    return Evidence.equal(-0.713, float(slope), tolerance=1e-10, note="log-log slope over two decades")


@claim(SYSTEM, "the schedule ends at 1e-5 whatever its peak")
def fixed_end() -> Evidence:
    ends = np.asarray([step_law_schedule(peak, 20_000)(20_000) for peak in (1e-4, 1e-3, 1e-2)])
    return Evidence.at_most(1e-6, float(np.max(np.abs(ends / 1e-5 - 1))), note="relative")


@claim(SYSTEM, "outside 6e7 to 7e9 parameters it warns, and inside it does not")
def range_warning() -> Evidence:
    rows = []
    for n, outside in ((5.9e7, True), (6e7, False), (7e9, False), (7.1e9, True)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            step_law_learning_rate(n, 1e11)
        rows.append({"parameters": n, "warns": bool(caught), "holds": bool(caught) == outside})
    return Evidence.table(rows)


def _runs(seed: int) -> tuple[np.ndarray, ...]:
    """Losses of a grid of runs: a quadratic bowl in the logarithms around the law, with 0.1 % noise."""
    sizes, tokens = np.geomspace(6e7, 7e9, 4), np.geomspace(2e9, 1e12, 4)
    grid = np.meshgrid(sizes, tokens, np.geomspace(5e-5, 5e-2, 60), np.geomspace(3e4, 2e7, 60))
    n, d, lr, b = (axis.ravel() for axis in grid)
    off = np.log(lr / (1.79 * n**-0.713 * d**0.307)) ** 2 + np.log(b / (0.58 * d**0.571)) ** 2
    noise = 1 + 1e-3 * np.random.default_rng(seed).normal(size=n.size)
    return n, d, lr, b, (2 + n**-0.1) * (1 + 0.2 * off) * noise


def _exponents(seed: int, plateau: float) -> np.ndarray:
    fit = fit_step_law(*_runs(seed), plateau=plateau, resamples=50)
    return np.array([fit.learning_rate.parameters, fit.learning_rate.tokens, fit.batch_size.tokens])


@claim(SYSTEM, "a fit to noisy losses recovers the planted exponents to 0.01")
def recovery() -> Evidence:
    off = np.abs([_exponents(seed, 0.0025) - (-0.713, 0.307, 0.571) for seed in range(8)])
    return Evidence.at_most(0.01, float(off.max()), note="the worst of 8 tables of runs")


@claim(SYSTEM, "fitted to the best runs alone, exponents scatter more than when the plateau is kept")
def plateau() -> Evidence:
    scatter = {p: np.std([_exponents(seed, p) for seed in range(12)], axis=0) for p in (0.0, 0.0025)}
    best, kept = (float(np.linalg.norm(scatter[p])) for p in (0.0, 0.0025))
    return Evidence.at_most(best, kept, note="norm of the exponents' standard deviations, 12 tables of runs")
