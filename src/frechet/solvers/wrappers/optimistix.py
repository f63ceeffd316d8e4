"""Any Optimistix solver as a Frechet solver."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import lineax as lx
import optimistix as optx
from jaxtyping import Array, PRNGKeyArray, PyTree

from frechet.core.calls import Calls
from frechet.core.problem import Problem
from frechet.core.solver import Solver, State
from frechet.problems.composite import Composite
from frechet.problems.equations import FixedPoint, Root
from frechet.problems.least_squares import LeastSquares
from frechet.solvers.wrappers import handed
from frechet.solvers.wrappers.counted import precision_of, run_counted


class OptimistixState(State):
    """``inner`` holds the arrays of the Optimistix solver's own state, flattened."""

    inner: list[Array]


class _Kind(NamedTuple):
    accepts: type[Problem]
    needs: frozenset[str]
    check_every: int
    function: Callable


# Solvers that may reject trials are checked less often, so that a run of rejections is no stall.
_KINDS = {
    optx.AbstractMinimiser: _Kind(Composite, frozenset({"smooth"}), 10, handed.value),
    optx.AbstractLeastSquaresSolver: _Kind(
        LeastSquares,
        frozenset({"residual", "smooth"}),
        4,
        lambda problem, y: handed.residual(lambda p, y: p.residual(y), problem, y),
    ),
    optx.AbstractRootFinder: _Kind(
        Root, frozenset(), 1, lambda problem, y: handed.residual(lambda p, y: p.optimality(y), problem, y)
    ),
    optx.AbstractFixedPointSolver: _Kind(
        FixedPoint, frozenset(), 10, lambda problem, y: handed.residual(lambda p, y: p.apply(y), problem, y)
    ),
}


class Optimistix(Solver):
    r"""Any Optimistix solver, a step of it a step here.

    Minimisers take a smooth `Composite`, least-squares solvers a `LeastSquares` with $g = 0$, root finders a
    `Root` and fixed-point solvers a `FixedPoint`. The iterate is the last one accepted. The solver's own
    termination is not asked: the residual decides, as for every solver, so its tolerances only scale.

    A minimiser's trial costs one value and one gradient. A trial of the others costs one value (of the
    residual) and, where the solver linearises there, as many Jacobian-vector products as there are
    unknowns: the Jacobian is formed once and kept, dense. Trials in a solver's own loops and conditionals are
    counted as often as they are made, factorisations too.

    Args:
        solver: an `optimistix.AbstractMinimiser`, `AbstractLeastSquaresSolver`, `AbstractRootFinder` or
            `AbstractFixedPointSolver`.

    Raises:
        TypeError: the solver is none of these.

    Source:
        Rader, Lyons, Kidger 2024, Optimistix: modular optimisation in JAX and Equinox, arXiv 2402.09983.

    Example:
        >>> import jax.numpy as jnp
        >>> import optimistix as optx
        >>> import frechet as fr
        >>> problem = fr.Composite(lambda x: jnp.sum((x - 1) ** 4 + x**2))
        >>> solver = Optimistix(optx.BFGS(rtol=1e-6, atol=1e-6))
        >>> fr.solve(problem, jnp.zeros(2), solver, tol=1e-3).x.round(2).tolist()
        [0.4099999964237213, 0.4099999964237213]
    """

    numbers: PyTree[Any]
    structure: Any = eqx.field(static=True)

    def __init__(self, solver: Any):
        if not isinstance(solver, tuple(_KINDS)):
            raise TypeError(
                "solver must be an Optimistix minimiser, least-squares solver, root finder or fixed-point "
                f"solver, got {solver!r}"
            )
        self.numbers, self.structure = eqx.partition(solver, eqx.is_inexact_array_like)

    @property
    def solver(self) -> Any:
        """The Optimistix solver; its numbers may change without recompilation."""
        return eqx.combine(self.numbers, self.structure)

    @property
    def _kind(self) -> _Kind:
        return next(kind for base, kind in _KINDS.items() if isinstance(self.structure, base))

    @property
    def accepts(self) -> type[Problem]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The kind that fits the wrapped solver."""
        return self._kind.accepts

    @property
    def needs(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The oracles that the wrapped solver cannot do without."""
        return self._kind.needs

    @property
    def check_every(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Steps between residual checks."""
        return self._kind.check_every

    def _program(self, problem: Problem) -> tuple[Callable, Callable, list]:
        """Optimistix's init and step as functions of arrays alone, and where init leaves what is static."""
        static: list = []

        def fn(y: PyTree[Array], args: None) -> tuple:
            return self._kind.function(problem, y), None

        solver = self.solver

        def init(y: PyTree[Array]) -> PyTree[Array]:
            form = jax.eval_shape(lambda: fn(y, None)[0])
            state = solver.init(fn, y, None, {}, form, None, frozenset())
            arrays, rest = eqx.partition(state, eqx.is_array)
            static[:] = [jax.tree.structure(arrays), rest]
            return jax.tree.leaves(arrays)

        def step(y: PyTree[Array], inner: list[Array]) -> tuple:
            treedef, rest = static
            state = eqx.combine(jax.tree.unflatten(treedef, inner), rest)
            y, state, _ = solver.step(fn, y, None, {}, state, frozenset())
            return y, jax.tree.leaves(eqx.filter(state, eqx.is_array))

        return init, step, static

    def init(self, problem: Problem, x0: PyTree[Array], *, key: PRNGKeyArray) -> OptimistixState:
        with precision_of(x0):
            inner, counts = run_counted(self._program(problem)[0], x0)
        return OptimistixState(x0, Calls().add(**counts), inner)

    def step(self, problem: Problem, state: OptimistixState, *, key: PRNGKeyArray) -> OptimistixState:
        init, step, _ = self._program(problem)
        with precision_of(state.x):
            jax.eval_shape(init, state.x)  # for what is static in the state; nothing is computed
            (x, inner), counts = run_counted(step, state.x, state.inner)
        x, inner = handed.same_types((x, inner), (state.x, state.inner))
        return OptimistixState(x, state.calls.add(**counts), inner)

    @classmethod
    def presets(cls) -> dict[str, Solver]:
        named = (
            optx.BFGS,
            optx.LBFGS,
            optx.NonlinearCG,
            optx.LevenbergMarquardt,
            optx.GaussNewton,
            optx.Dogleg,
            optx.Newton,
            optx.Chord,
            optx.FixedPointIteration,
        )
        return {f"Optimistix:{c.__name__}": cls(c(rtol=_SCALE, atol=_SCALE)) for c in named}


# Termination is not asked, so these only keep Optimistix's scaled norms from dividing by zero.
_SCALE = 1e-6


def LevenbergMarquardt(linear_solver: lx.AbstractLinearSolver | None = None) -> Optimistix:
    """`optimistix.LevenbergMarquardt`, for a `LeastSquares`.

    Args:
        linear_solver: a Lineax solver for least squares; QR when left out.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.LeastSquares(lambda x: jnp.array([10 * (x[1] - x[0] ** 2), 1 - x[0]]))
        >>> fr.solve(problem, jnp.array([-1.2, 1.0]), LevenbergMarquardt()).x.round(4).tolist()
        [1.0, 1.0]
    """
    return Optimistix(optx.LevenbergMarquardt(_SCALE, _SCALE, linear_solver=linear_solver or lx.QR()))


def Newton(linear_solver: lx.AbstractLinearSolver | None = None) -> Optimistix:
    """`optimistix.Newton`, for a `Root`.

    Args:
        linear_solver: a Lineax solver; chosen by Lineax when left out.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> round(float(fr.solve(fr.Root(lambda x: x**2 - 2), jnp.asarray(1.0), Newton()).x), 4)
        1.4142
    """
    return Optimistix(
        optx.Newton(_SCALE, _SCALE, linear_solver=linear_solver or lx.AutoLinearSolver(well_posed=None))
    )


def FixedPointIteration(damp: float = 0.0) -> Optimistix:
    r"""`optimistix.FixedPointIteration`, for a `FixedPoint`: $x \leftarrow (1 - d)\,T(x) + d\,x$.

    Args:
        damp: the damping $d$.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> round(float(fr.solve(fr.FixedPoint(jnp.cos), jnp.asarray(1.0), FixedPointIteration()).x), 3)
        0.739
    """
    return Optimistix(optx.FixedPointIteration(_SCALE, _SCALE, damp=damp))
