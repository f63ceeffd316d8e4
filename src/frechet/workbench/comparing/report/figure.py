"""The figure for papers: a panel a problem and the performance profile."""

import io
import math

import numpy as np

from frechet.workbench.comparing.plan import ProblemCard, column
from frechet.workbench.comparing.profile import profile, ratios
from frechet.workbench.comparing.record import Record
from frechet.workbench.comparing.result import Comparison, show_height

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#a3478f", "#b07d00", "#4b3fa7", "#3d9fd3")
_DASHES = ("-", (0, (5, 2)), (0, (1.2, 1.4)), (0, (6, 2, 1, 2)), (0, (2.5, 2)))


def figure(comparison: Comparison) -> bytes:
    """A PNG: gap (residual where there is no optimum) against run time, median and spread over seeds."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = len(comparison.plan.problems) + 1
    across = min(3, panels)
    down = math.ceil(panels / across)
    fig = Figure(figsize=(4.1 * across, 3.1 * down + 0.5), dpi=160, layout="constrained")
    FigureCanvasAgg(fig)
    axes = fig.subplots(down, across, squeeze=False).ravel()
    styles = _styles(comparison)
    for axis, problem in zip(axes, comparison.plan.problems, strict=False):
        _panel(axis, comparison, problem.name, styles)
    _profile(axes[panels - 1], comparison, styles)
    for axis in axes[panels:]:
        axis.set_visible(False)
    for axis in axes[:panels]:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(True, color="#e6e6e6", linewidth=0.6)
        axis.tick_params(labelsize=8)
    handles = [axes[panels - 1].plot([], [], label=name, **style)[0] for name, style in styles.items()]
    fig.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(len(handles), 2 * across),
        fontsize=8,
        frameon=False,
    )
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png")
    return buffer.getvalue()


def _styles(comparison: Comparison) -> dict[str, dict]:
    """A colour and dash for every solver, in the order of the ranking."""
    names = [comparison.plan.solvers[r.solver].name for r in comparison.ranking()]
    return {
        name: {
            "color": COLOURS[i % len(COLOURS)],
            "linestyle": _DASHES[i // len(COLOURS) % len(_DASHES)],
            "linewidth": 1.5,
        }
        for i, name in enumerate(names)
    }


def _panel(axis, comparison: Comparison, problem: str, styles: dict[str, dict]) -> None:
    reference = comparison.references[problem]
    (card,) = (c for c in comparison.plan.problems if c.name == problem)
    with_gap = card.testable and math.isfinite(reference.value)
    for name, style in styles.items():
        runs = [r for r in comparison.of(problem, name) if len(r.columns.get("seconds", ())) > 1]
        if not runs:
            continue
        heights = [reference.gap(r.columns) if with_gap else r.columns[card.watched] for r in runs]
        grid = _grid(runs)
        curves = np.array([_held(grid, r.columns["seconds"], h) for r, h in zip(runs, heights, strict=True)])
        axis.plot(grid, np.median(curves, axis=0), **style)
        if len(runs) > 1:
            axis.fill_between(
                grid, curves.min(axis=0), curves.max(axis=0), color=style["color"], alpha=0.15, linewidth=0
            )
    axis.set(xscale="log", yscale="log" if card.testable else "linear")
    if with_gap:  # one solver's excursion far above the start would flatten all the others
        axis.set_ylim(top=min(axis.get_ylim()[1], 1e2))
    if not card.testable:
        _frame_training(axis, comparison, card)
    axis.set_title(problem, fontsize=10, loc="left", fontweight="bold")
    axis.set_xlabel("run time (s)", fontsize=8)
    axis.set_ylabel("relative gap" if with_gap else show_height(card.watched), fontsize=8)


def _frame_training(axis, comparison: Comparison, card: ProblemCard) -> None:
    """The target as a line, and a frame that a diverging solver does not stretch."""
    target = comparison.references[card.name].target
    columns = [
        r.columns[card.watched] for r in comparison.records if r.spec.problem == card.name and not r.failed
    ]
    if target is not None and column(target.measure) == card.watched and math.isfinite(target.value):
        axis.axhline(target.value, color="#888888", linewidth=0.9, linestyle=(0, (4, 3)))
        columns.append(np.array([target.value]))
    values = np.concatenate([*columns, np.zeros(0)])
    starts = [c[0] for c in columns if math.isfinite(c[0])]
    values = values[np.isfinite(values)]
    if not card.more_is_better and starts:
        values = values[values <= 1.2 * max(starts)]
    if not values.size:
        return
    low, high = values.min(), values.max()
    if low > 0 and high > 20 * low:
        axis.set(yscale="log", ylim=(low / 1.2, high * 1.2))
    elif high > low:
        axis.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))


def _grid(runs: list[Record]) -> np.ndarray:
    seconds = np.concatenate([r.columns["seconds"] for r in runs])
    positive = seconds[seconds > 0]
    if not positive.size:
        return np.array([1e-6, 1e-5])
    return np.geomspace(positive.min(), positive.max(), 200)


def _held(grid: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """What was known at each time: the value of the last check before it."""
    return np.asarray(y)[np.clip(np.searchsorted(x, grid, side="right") - 1, 0, len(y) - 1)]


def _profile(axis, comparison: Comparison, styles: dict[str, dict]) -> None:
    ratio = ratios(comparison.costs(comparison.goals[0], "seconds")[0])
    finite = ratio[np.isfinite(ratio)]
    tau = np.geomspace(1, max(2.0, 1.3 * finite.max()) if finite.size else 2.0, 300)
    for index, solver in enumerate(comparison.plan.solvers):
        axis.step(tau, profile(ratio[index], tau), where="post", **styles[solver.name])
    axis.set(xscale="log", ylim=(-0.02, 1.04))
    axis.set_title("performance profile", fontsize=10, loc="left", fontweight="bold")
    axis.set_xlabel("times the best solver's run time", fontsize=8)
    axis.set_ylabel(f"fraction with {comparison.goals[0].label}", fontsize=8)
