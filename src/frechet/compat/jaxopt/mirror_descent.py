"""MirrorDescent."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, PyTree, Scalar

from frechet.compat.jaxopt.adapter import Adapter
from frechet.compat.jaxopt.base import AutoOrBoolean, OptStep
from frechet.compat.jaxopt.tree_util import tree_add_scalar_mul
from frechet.convex.function import Function
from frechet.convex.geometry import Geometry
from frechet.convex.zero import Zero
from frechet.core import tree
from frechet.problems.composite import Composite
from frechet.solvers.mirror import mirror_descent
from frechet.solvers.mirror.mirror_descent import MirrorDescentState as NativeState


class MirrorDescentState(NamedTuple):
    """State of `MirrorDescent`.

    Attributes:
        iter_num: updates so far.
        error: length of the last step over its step size.
        aux: ``fun``'s auxiliary data.
        num_fun_eval: evaluations so far, those for the auxiliary data left out.
        num_grad_eval: gradients so far.
        num_proj_eval: calls of ``projection_grad`` so far.
        inner: the native state.
    """

    iter_num: Any
    error: Any
    aux: Any
    num_fun_eval: Any
    num_grad_eval: Any
    num_proj_eval: Any
    inner: NativeState


class UserMirrorStep(Function):
    """A set known by its mirror descent steps alone.

    Attributes:
        map: from the point, the gradient, the step size and the hyperparameters to the next point.
        hyperparams: any pytree.
    """

    map: Callable
    hyperparams: Any

    def __call__(self, x: PyTree[Array]) -> Scalar:
        return Zero()(x)

    def prox(self, x: PyTree[Array], step: Any) -> PyTree[Array]:
        raise TypeError("a set known by projection_grad has no Euclidean projection")

    def residual(self, x: PyTree[Array], gradient: PyTree[Array]) -> PyTree[Array]:
        return tree.subtract(x, self.map(x, gradient, 1.0, self.hyperparams))


class _Given(Geometry):
    """The geometry of a `UserMirrorStep`, of which no divergence is known: step sizes are given."""

    def divergence(self, u: PyTree[Array], x: PyTree[Array]) -> Scalar:
        raise TypeError("a geometry known by projection_grad has no divergence")

    def step(self, g: Any, x: PyTree[Array], gradient: PyTree[Array], step: Any) -> PyTree[Array]:
        return g.map(x, gradient, step, g.hyperparams)


@dataclasses.dataclass(eq=False)
class MirrorDescent(Adapter):
    """Minimises ``fun(params, *args)`` in another geometry; over `frechet.solvers.MirrorDescent`.

    The second argument of ``run`` is ``hyperparams_proj``.

    Args:
        fun: the function.
        projection_grad: ``projection_grad(params, gradient, stepsize, hyperparams_proj)``, the next point;
            see `make_projection_grad`.
        stepsize: a step size, or a function of the iteration's number.
        maxiter: most iterations.
        tol: for the length of a step over its step size.
        verbose: print each iteration.
        implicit_diff: implicit derivatives, or those of the iterations.
        implicit_diff_solve: linear solver ``solve(matvec, b)`` for them.
        has_aux: whether ``fun`` returns auxiliary data.
        jit: compile.
        unroll: loops of fixed length; "auto" means where derivatives need them.
    """

    fun: Callable
    projection_grad: Callable
    stepsize: float | Callable
    maxiter: int = 500
    tol: float = 1e-2
    verbose: bool | int = False
    implicit_diff: bool = True
    implicit_diff_solve: Callable | None = None
    has_aux: bool = False
    jit: bool = True
    unroll: AutoOrBoolean = "auto"

    state: ClassVar[type] = MirrorDescentState

    @staticmethod
    def make_projection_grad(projection: Callable, mapping_fun: Callable) -> Callable:
        """The step that goes against the gradient in the mirror map's image and is projected from there.

        Args:
            projection: ``projection(dual, hyperparams_proj)``, the Bregman projection of a point of that
                image.
            mapping_fun: the mirror map, gradient of what generates the Bregman divergence.

        Returns:
            A function to be a ``projection_grad``.
        """

        def projection_grad(x: PyTree, x_fun_grad: PyTree, stepsize: Any, hyperparams_proj: Any) -> PyTree:
            return projection(tree_add_scalar_mul(mapping_fun(x), -stepsize, x_fun_grad), hyperparams_proj)

        return projection_grad

    def run(self, init_params: Any, hyperparams_proj: Any = None, *args: Any, **kwargs: Any) -> OptStep:
        return super().run(init_params, hyperparams_proj, *args, **kwargs)

    # The second argument has JAXopt's name, by which callers may pass it.

    def problem(self, hyperparams_proj: Any = None, *args: Any, **kwargs: Any) -> Composite:
        set = UserMirrorStep(self.projection_grad, hyperparams_proj)
        return Composite(self.function(hyperparams_proj, *args, **kwargs), set)

    def native(self, iter_num: Scalar) -> mirror_descent.MirrorDescent:
        return mirror_descent.MirrorDescent(_Given(), self._size(iter_num))

    def _size(self, iter_num: Scalar) -> Any:
        return self.stepsize(iter_num) if callable(self.stepsize) else self.stepsize

    def fun_arguments(self, hyperparams_proj: Any = None, *args: Any, **kwargs: Any) -> tuple[tuple, dict]:
        return args, kwargs

    def example_calls(
        self, init_params: Any, hyperparams_proj: Any = None, *args: Any, **kwargs: Any
    ) -> dict[str, tuple[tuple, dict]]:
        calls = super().example_calls(init_params, hyperparams_proj, *args, **kwargs)
        step = ((init_params, init_params, 1.0, hyperparams_proj), {})
        return calls | {"projection_grad": step, "stepsize": ((jnp.asarray(0),), {})}

    def shown(self, params: Any, inner: NativeState, problem: Any, count: Scalar) -> dict[str, Any]:
        moved = tree.norm(tree.subtract(inner.x, params))
        return {
            "error": moved / jnp.asarray(self._size(jnp.maximum(count - 1, 0)), moved.dtype),
            "num_fun_eval": inner.calls.gradient,
            "num_grad_eval": inner.calls.gradient,
            "num_proj_eval": inner.calls.prox,
        }
