"""Functions that are sums over coordinates: one scalar function, written once, does the rest."""

import abc
import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Scalar

from frechet.convex.function import Function
from frechet.convex.parameters import floating, matched


class Separable(Function):
    r"""$g(x) = \sum_i \phi(x_i; \theta_i)$ over all entries of all leaves of ``x``.

    A subclass gives the scalar function and its scalar proximal map. Its fields are the parameters $\theta$:
    each a number, an array that broadcasts to ``x``, or a prefix pytree of ``x`` with such leaves.
    ``step`` may be given in the same ways, for a diagonal metric.

    Example:
        >>> import jax.numpy as jnp
        >>> from frechet import convex
        >>> g = convex.L1({"slope": 1.0, "intercept": 0.0})
        >>> x = {"slope": jnp.array([3.0, -0.5]), "intercept": jnp.array(4.0)}
        >>> float(g(x)), g.prox(x, 1.0)["slope"].tolist(), float(g.prox(x, 1.0)["intercept"])
        (3.5, [2.0, 0.0], 4.0)
    """

    separable: ClassVar[bool] = True

    @abc.abstractmethod
    def pointwise(self, value: Array, *parameters: Array) -> Array:
        """The scalar function, elementwise; ``parameters`` are the fields in their order."""

    @abc.abstractmethod
    def pointwise_prox(self, value: Array, step: Array, *parameters: Array) -> Array:
        """The scalar function's proximal map, elementwise."""

    def _parameters(self) -> dict[str, PyTree[Any]]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def __call__(self, x: PyTree[Array]) -> Scalar:
        x = floating(x)
        parameters = [matched(name, value, x) for name, value in self._parameters().items()]
        values = jax.tree.map(lambda *leaves: jnp.sum(self.pointwise(*leaves)), x, *parameters)
        return jnp.asarray(sum(jax.tree.leaves(values), start=0.0))

    def prox(self, x: PyTree[Array], step: Any) -> PyTree[Array]:
        x = floating(x)
        parameters = [matched(name, value, x) for name, value in self._parameters().items()]
        return jax.tree.map(self.pointwise_prox, x, matched("step", step, x), *parameters)

    def prox_coordinate(self, value: Array, index: Any, step: Any) -> Array:
        value = floating(value)

        def entry(name, parameter):
            if not isinstance(parameter, float | jax.Array):
                raise TypeError(f"prox_coordinate takes a number or an array as {name}, not a pytree of them")
            parameter = jnp.asarray(parameter, value.dtype)
            return parameter if parameter.size == 1 else jnp.ravel(parameter)[index]

        parameters = [entry(name, parameter) for name, parameter in self._parameters().items()]
        parameters = [jnp.reshape(p, ()) if p.size == 1 else p for p in parameters]
        return self.pointwise_prox(value, jnp.asarray(step, value.dtype), *parameters)
