"""The oracles of a function that automatic differentiation gives."""

import jax
from jaxtyping import Array, PyTree, Scalar

from frechet.core.problem import Problem


class Differentiable(Problem):
    """A problem with a smooth function of its point, ``value``; its derivatives follow."""

    def value(self, x: PyTree[Array]) -> Scalar:
        """The smooth function."""
        raise NotImplementedError

    def gradient(self, x: PyTree[Array]) -> PyTree[Array]:
        """Its gradient."""
        return jax.grad(self.value)(x)

    def value_and_gradient(self, x: PyTree[Array]) -> tuple[Scalar, PyTree[Array]]:
        """The function and its gradient, for one evaluation of each."""
        return jax.value_and_grad(self.value)(x)

    def hvp(self, x: PyTree[Array], v: PyTree[Array]) -> PyTree[Array]:
        """Its Hessian at ``x`` applied to ``v``."""
        return jax.jvp(jax.grad(self.value), (x,), (v,))[1]
