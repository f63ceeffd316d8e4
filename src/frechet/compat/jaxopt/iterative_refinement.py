"""IterativeRefinement."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree

from frechet.compat.jaxopt import linear_solve
from frechet.compat.jaxopt.base import AutoOrBoolean, CompiledUpdate, OptStep, unwrapped
from frechet.core import tree
from frechet.problems.equations import Root
from frechet.solvers.fixed_point import iterative_refinement
from frechet.solvers.fixed_point.iterative_refinement import IterativeRefinementState as NativeState


class IterativeRefinementState(NamedTuple):
    """State of `IterativeRefinement`.

    Attributes:
        iter_num: updates so far.
        error: norm of the residual.
        target_residuals: the residual ``b - A x``, of which the next update corrects.
        init: what ``solve`` starts from.
        num_matvec_eval: products with ``A`` so far.
        num_matvec_bar_eval: systems of ``A_bar`` made so far.
        num_solve_eval: calls of ``solve`` so far.
        inner: the native state.
    """

    iter_num: Any
    error: Any
    target_residuals: Any
    init: Any
    num_matvec_eval: Any
    num_matvec_bar_eval: Any
    num_solve_eval: Any
    inner: NativeState


_gmres = functools.partial(linear_solve.solve_gmres, ridge=1e-6)


class _Product(eqx.Module):
    """``matvec(A, x)``, or the product of each leaf of a pytree of matrices with that of ``x``."""

    matvec: Callable | None
    A: Any

    def __call__(self, x: PyTree[Array]) -> PyTree[Array]:
        return jax.tree.map(jnp.dot, self.A, x) if self.matvec is None else self.matvec(self.A, x)


class _Residual(eqx.Module):
    """``A x - b``."""

    product: _Product
    b: PyTree[Array]

    def __call__(self, x: PyTree[Array]) -> PyTree[Array]:
        return tree.subtract(self.product(x), self.b)


class _Correction(eqx.Module):
    """An approximate solution of ``A_bar c = r``."""

    solve: Callable
    product: _Product

    def __call__(self, r: PyTree[Array]) -> PyTree[Array]:
        return self.solve(self.product, r, init=jax.tree.map(jnp.zeros_like, r))


@dataclasses.dataclass(eq=False)
class IterativeRefinement(CompiledUpdate):
    """Solves ``A x = b`` by inexact solves for the residual; over `frechet.solvers.IterativeRefinement`.

    ``run(init_params, A, b, A_bar=None)``; ``init_params`` may be None for zeros. Residuals are scaled to a
    largest entry of one before they are handed to ``solve``.

    Args:
        matvec_A: ``matvec_A(A, x)``; by default ``A`` is a matrix, or a pytree of them like ``x``.
        matvec_A_bar: ``matvec_A_bar(A_bar, x)``, what ``solve`` solves with; None for that of ``A``.
        solve: ``solve(matvec, b, init=x0)``, which may be of low accuracy.
        maxiter: most iterations.
        tol: for the norm of the residual.
        verbose: print each iteration.
        implicit_diff_solve: linear solver ``solve(matvec, b)`` for implicit derivatives.
        jit: compile.
        unroll: loops of fixed length; "auto" means where derivatives need them.
    """

    matvec_A: Callable | None = None
    matvec_A_bar: Callable | None = None
    solve: Callable = _gmres
    maxiter: int = 10
    tol: float = 1e-7
    verbose: bool | int = False
    implicit_diff_solve: Callable | None = None
    jit: bool = True
    unroll: AutoOrBoolean = "auto"

    def init_params(self, A: Any, b: Any, A_bar: Any = None) -> PyTree[Array]:
        """Zeros like ``b``."""
        return jax.tree.map(jnp.zeros_like, b)

    def example_calls(
        self, init_params: Any, A: Any, b: Any, A_bar: Any = None
    ) -> dict[str, tuple[tuple, dict]]:
        return {"matvec_A": ((A, init_params), {}), "matvec_A_bar": ((A_bar, init_params), {})}

    def run(self, init_params: Any, A: Any, b: Any, A_bar: Any = None) -> OptStep:
        start = self.init_params(A, b) if init_params is None else init_params
        return super().run(start, A, b, A_bar)

    def init_state(self, init_params: Any, A: Any, b: Any, A_bar: Any = None) -> IterativeRefinementState:
        with contextlib.nullcontext() if self.jit else jax.disable_jit():
            start = jax.tree.map(jnp.asarray, unwrapped(init_params))
            problem, native = self._posed(A, b, A_bar)
            state = self._shown(native.init(problem, start, key=jax.random.key(0)), jnp.asarray(0))
            return state._replace(error=jnp.full_like(state.error, jnp.inf))

    def advance(self, params: Any, state: Any, A: Any, b: Any, A_bar: Any = None) -> OptStep:
        problem, native = self._posed(A, b, A_bar)
        inner = native.step(problem, state.inner, key=jax.random.key(0))
        return OptStep(inner.x, self._shown(inner, state.iter_num + 1))

    def optimality_fun(self, params: Any, A: Any, b: Any, A_bar: Any = None) -> Any:
        return self._posed(A, b, A_bar)[0].optimality(params)

    def _posed(self, A: Any, b: Any, A_bar: Any) -> tuple[Root, iterative_refinement.IterativeRefinement]:
        A, b, A_bar = jax.tree.map(jnp.asarray, (A, b, A_bar))
        product = _Product(self.matvec_A, A)
        near = product if self.matvec_A_bar is None else _Product(self.matvec_A_bar, A_bar)
        native = iterative_refinement.IterativeRefinement(approximation=_Correction(self.solve, near))
        return Root(_Residual(product, b)), native

    def _shown(self, inner: NativeState, count: Any) -> IterativeRefinementState:
        unravel = ravel_pytree(inner.x)[1]
        return IterativeRefinementState(
            iter_num=count,
            error=tree.norm(inner.residual),
            target_residuals=unravel(-inner.residual),
            init=jax.tree.map(jnp.zeros_like, inner.x),
            num_matvec_eval=inner.calls.value,
            num_matvec_bar_eval=count,
            num_solve_eval=count,
            inner=inner,
        )
