"""JAXopt 0.8.5's public names over this library; see the migration page of the documentation.

``from frechet.compat import jaxopt`` takes the place of ``import jaxopt``. Signatures, defaults, state fields
and the meaning of ``tol`` are those of JAXopt. The work is done by the solvers of this library, which new
code calls through `frechet.solve`.
"""

import importlib
from typing import Any

_CLASSES = {
    "AndersonAcceleration": "anderson",
    "AndersonWrapper": "anderson_wrapper",
    "ArmijoSGD": "stochastic",
    "BFGS": "bfgs",
    "BacktrackingLineSearch": "backtracking_linesearch",
    "Bisection": "bisection",
    "BlockCoordinateDescent": "block_cd",
    "BoxCDQP": "cd_qp",
    "BoxOSQP": "osqp",
    "Broyden": "broyden",
    "CvxpyQP": "cvxpy_wrapper",
    "EqualityConstrainedQP": "eq_qp",
    "FixedPointIteration": "fixed_point_iteration",
    "GaussNewton": "least_squares",
    "GradientDescent": "gradient",
    "HagerZhangLineSearch": "hager_zhang_linesearch",
    "IterativeRefinement": "iterative_refinement",
    "LBFGS": "lbfgs",
    "LBFGSB": "lbfgsb",
    "LevenbergMarquardt": "least_squares",
    "MirrorDescent": "mirror_descent",
    "NonlinearCG": "nonlinear_cg",
    "OSQP": "osqp",
    "OptStep": "base",
    "OptaxSolver": "stochastic",
    "PolyakSGD": "stochastic",
    "ProjectedGradient": "gradient",
    "ProximalGradient": "gradient",
    "ScipyBoundedLeastSquares": "scipy_least_squares",
    "ScipyBoundedMinimize": "scipy_minimize",
    "ScipyLeastSquares": "scipy_least_squares",
    "ScipyMinimize": "scipy_minimize",
    "ScipyRootFinding": "scipy_root",
    "ZoomLineSearch": "zoom_linesearch",
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
    raise AttributeError(f"this layer has no {name!r}; docs/jaxopt.md lists what it has")


def __dir__() -> list[str]:
    return sorted((*_CLASSES, *_MODULES))
