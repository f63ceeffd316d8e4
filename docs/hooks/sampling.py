"""The table of the sampling page: the bias of each sampler, measured while the site is built."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import frechet as fr

_MARK = "<!-- bias -->"
_CHAINS, _DRAWS = 300, 400
_PRECISIONS = np.array([1.0, 100.0])
_RATE = 10.0
_TRUE = {"normal": 1 / _PRECISIONS[1], "laplace": 2 / _RATE**2, "uniform": 1 / 300}
_SMOOTH = ("ULA", "MALA")
_PROXIMAL = ("MYULA", "ProximalLangevin", "SKROCK", "MYMALA", "ProximalSampler")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Puts the table where the page asks for it."""
    return markdown.replace(_MARK, "\n".join(_table())) if _MARK in markdown else markdown


def _table() -> list[str]:
    """A row a sampler: its second moments in units of the true ones."""
    lines = [
        "| sampler | normal, stiff direction | Laplace | uniform on a box |",
        "| --- | --- | --- | --- |",
    ]
    for name in (*_SMOOTH, *_PROXIMAL):
        cells = [_ratio(*pair) for pair in _measured(name)]
        lines.append(f"| `{name}` | {' | '.join([*cells, '', ''][:3])} |")
    return lines


def _ratio(ratio: float, error: float) -> str:
    text = f"{ratio:.2f} ± {2 * error:.2f}"
    return f"**{text}**" if abs(ratio - 1) > 3 * error else text


def _measured(name: str) -> list[tuple[float, float]]:
    """Ratios with standard errors, each chain being a datum; chains start in the density."""
    rng = np.random.default_rng(0)
    x = {"normal": rng.normal(size=(_CHAINS, 2)) / np.sqrt(_PRECISIONS)}
    g = {"normal": fr.convex.Zero()}
    if name in _PROXIMAL:
        x["laplace"] = rng.laplace(size=_CHAINS) / _RATE
        x["uniform"] = rng.uniform(-0.1, 0.1, _CHAINS)
        g |= {"laplace": fr.convex.L1(_RATE), "uniform": fr.convex.Box(-0.1, 0.1)}
    start = fr.Chains.at(jax.tree.map(jnp.asarray, x))
    precisions = jnp.asarray(_PRECISIONS)
    density = fr.Density(lambda x: 0.5 * jnp.sum(precisions * x["normal"] ** 2), fr.convex.PerLeaf(g))
    sampler = getattr(fr.solvers, name)()
    draws = fr.sample(density, start, sampler, draws=_DRAWS, warmup=100).draws
    squares = {k: np.mean(np.square(v), axis=1) / _TRUE[k] for k, v in draws.items()}
    squares["normal"] = squares["normal"][:, 1]
    return [(float(v.mean()), float(v.std() / np.sqrt(_CHAINS))) for v in squares.values()]
