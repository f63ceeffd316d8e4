"""Differentiable optimisation in JAX: a problem knows what it means to be solved."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frechet import convex as convex
    from frechet import derivatives as derivatives
    from frechet import interop as interop
    from frechet import losses as losses
    from frechet import metrics as metrics
    from frechet import models as models
    from frechet import optimizers as optimizers
    from frechet import problems as problems
    from frechet import solvers as solvers
    from frechet import transport as transport
    from frechet.core.calls import Calls as Calls
    from frechet.core.custom import custom_fixed_point as custom_fixed_point
    from frechet.core.custom import custom_root as custom_root
    from frechet.core.history import History as History
    from frechet.core.implicit import DerivativeWarning as DerivativeWarning
    from frechet.core.multistart import Multistart as Multistart
    from frechet.core.multistart import multistart as multistart
    from frechet.core.problem import Problem as Problem
    from frechet.core.run import Budget as Budget
    from frechet.core.run import RunResult as RunResult
    from frechet.core.run import Trace as Trace
    from frechet.core.run import run as run
    from frechet.core.solve import Solution as Solution
    from frechet.core.solve import solve as solve
    from frechet.core.solver import Solver as Solver
    from frechet.core.solver import State as State
    from frechet.core.status import Ending as Ending
    from frechet.core.status import Origin as Origin
    from frechet.core.status import Status as Status
    from frechet.models import TransportMap as TransportMap
    from frechet.problems import Bilevel as Bilevel
    from frechet.problems import BilevelPoint as BilevelPoint
    from frechet.problems import Bounded as Bounded
    from frechet.problems import Chains as Chains
    from frechet.problems import Composite as Composite
    from frechet.problems import Constrained as Constrained
    from frechet.problems import Density as Density
    from frechet.problems import FiniteSum as FiniteSum
    from frechet.problems import FiniteSumBilevel as FiniteSumBilevel
    from frechet.problems import FiniteSumInclusion as FiniteSumInclusion
    from frechet.problems import FiniteSumSaddle as FiniteSumSaddle
    from frechet.problems import FixedPoint as FixedPoint
    from frechet.problems import Game as Game
    from frechet.problems import Gaussian as Gaussian
    from frechet.problems import GaussianVariational as GaussianVariational
    from frechet.problems import Inclusion as Inclusion
    from frechet.problems import KKTPoint as KKTPoint
    from frechet.problems import LeastSquares as LeastSquares
    from frechet.problems import LinearComposite as LinearComposite
    from frechet.problems import Moments as Moments
    from frechet.problems import MultiBlockBilevel as MultiBlockBilevel
    from frechet.problems import Particles as Particles
    from frechet.problems import Potentials as Potentials
    from frechet.problems import PrimalDual as PrimalDual
    from frechet.problems import QuadraticProgram as QuadraticProgram
    from frechet.problems import Root as Root
    from frechet.problems import Saddle as Saddle
    from frechet.problems import SaddlePoint as SaddlePoint
    from frechet.problems import SmoothedAuction as SmoothedAuction
    from frechet.problems import Target as Target
    from frechet.problems import Training as Training
    from frechet.problems import Transport as Transport
    from frechet.problems import Tuning as Tuning
    from frechet.sampling import Samples as Samples
    from frechet.sampling import sample as sample
    from frechet.tuning import Tuned as Tuned
    from frechet.tuning import Tuner as Tuner
    from frechet.tuning import tune as tune

__version__ = "0.1.0"

# Loaded when named, so that `import frechet` stays light and the command line answers before JAX is loaded.
_ROOMS = (
    "convex",
    "derivatives",
    "interop",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "problems",
    "solvers",
    "transport",
)
_KINDS = (
    "Bilevel",
    "BilevelPoint",
    "Bounded",
    "Chains",
    "Composite",
    "Constrained",
    "Density",
    "FiniteSum",
    "FiniteSumInclusion",
    "FiniteSumSaddle",
    "FiniteSumBilevel",
    "FixedPoint",
    "Game",
    "Gaussian",
    "GaussianVariational",
    "Inclusion",
    "KKTPoint",
    "LeastSquares",
    "LinearComposite",
    "Moments",
    "MultiBlockBilevel",
    "Particles",
    "Potentials",
    "PrimalDual",
    "QuadraticProgram",
    "Root",
    "Saddle",
    "SaddlePoint",
    "SmoothedAuction",
    "Target",
    "Training",
    "Transport",
    "Tuning",
)
_NAMES = {
    "Calls": "frechet.core.calls",
    **dict.fromkeys(("custom_fixed_point", "custom_root"), "frechet.core.custom"),
    "DerivativeWarning": "frechet.core.implicit",
    "History": "frechet.core.history",
    **dict.fromkeys(("Multistart", "multistart"), "frechet.core.multistart"),
    "Problem": "frechet.core.problem",
    **dict.fromkeys(("Solution", "solve"), "frechet.core.solve"),
    **dict.fromkeys(("Solver", "State"), "frechet.core.solver"),
    **dict.fromkeys(("Ending", "Origin", "Status"), "frechet.core.status"),
    **dict.fromkeys(("Budget", "RunResult", "Trace", "run"), "frechet.core.run"),
    **dict.fromkeys(("Samples", "sample"), "frechet.sampling"),
    **dict.fromkeys(("Tuned", "Tuner", "tune"), "frechet.tuning"),
    "TransportMap": "frechet.models",
    **dict.fromkeys(_KINDS, "frechet.problems"),
}


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"frechet.{name}")
    if name in _NAMES:
        found = globals()[name] = getattr(importlib.import_module(_NAMES[name]), name)
        return found
    raise AttributeError(f"module 'frechet' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOMS, *_NAMES})
