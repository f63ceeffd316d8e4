"""JAXopt 0.8.5's public names over this library; see the migration page of the documentation.

``from frechet.compat import jaxopt`` takes the place of ``import jaxopt``. Signatures, defaults, state fields
and the meaning of ``tol`` are those of JAXopt; the work is done by the solvers of this library, which new code
should call through `frechet.solve`.
"""

import importlib
from typing import Any

_CLASSES = {
    "OptStep": "base",
    "GradientDescent": "gradient",
    "ProximalGradient": "gradient",
    "ProjectedGradient": "gradient",
}
_MODULES = (
    "base",
    "implicit_diff",
    "isotonic",
    "linear_solve",
    "loop",
    "loss",
    "objective",
    "perturbations",
    "projection",
    "prox",
    "tree_util",
)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _CLASSES:
        return getattr(importlib.import_module(f"{__name__}.{_CLASSES[name]}"), name)
    raise AttributeError(f"JAXopt has no {name!r}")


def __dir__() -> list[str]:
    return sorted((*_CLASSES, *_MODULES))
