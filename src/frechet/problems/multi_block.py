"""Two levels, the lower one many problems that share nothing but the upper variable."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PyTree, Scalar

from frechet.convex.function import Function
from frechet.convex.zero import Zero
from frechet.core import lift
from frechet.problems.bilevel import Bilevel, BilevelPoint

Blocks = Int[Array, " blocks"]
Terms = Int[Array, "blocks batch"] | None


class BlockMeans(eqx.Module):
    r"""$(x, y) \mapsto$ the mean or the sum over $i$ of $\frac1n\sum_j \ell(x, y_i, d_{ij})$.

    Args:
        loss: ``loss(x, one_y, one_datum)``, a scalar.
        data: a pytree whose leaves share their two leading axes, blocks and terms.
        over_blocks: how values of blocks are put together, ``jnp.mean`` or ``jnp.sum``.
        name: what the data are called in errors.
    """

    loss: Callable
    data: PyTree[Array]
    over_blocks: Callable = eqx.field(static=True)
    name: str = eqx.field(static=True)

    def __check_init__(self):
        axes = {jnp.shape(v)[:2] for v in jax.tree.leaves(self.data)}
        if len(axes) != 1 or min(map(len, axes)) < 2:
            shapes = [jnp.shape(v) for v in jax.tree.leaves(self.data)]
            raise ValueError(
                f"every leaf of {self.name}_data needs the same two leading axes, blocks and terms, "
                f"got shapes {shapes}"
            )

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return jax.tree.leaves(self.data)[0].shape[0]

    @property
    def count(self) -> int:
        """How many terms each has."""
        return jax.tree.leaves(self.data)[0].shape[1]

    def block(self, x: PyTree[Array], y: PyTree[Array], data: PyTree[Array]) -> Scalar:
        """The value of one block, of whose data the leading axis is that of terms."""
        values = jax.vmap(lambda d: lift.call(self.loss, x, y, d))(data)
        if values.ndim != 1:
            raise TypeError(f"{self.name}_loss must return a scalar, got shape {values.shape[1:]}")
        return jnp.mean(values)

    def __call__(self, x: PyTree[Array], y: PyTree[Array]) -> Scalar:
        return self.over_blocks(jax.vmap(self.block, in_axes=(None, 0, 0))(x, y, self.data))

    def drawn(self, blocks: Blocks, indices: Terms) -> PyTree[Array]:
        """The data of some blocks, of each those terms that its row of ``indices`` names, or all."""
        rows = blocks if indices is None else (blocks[:, None], indices)
        return jax.tree.map(lambda v: jnp.asarray(v)[rows], self.data)

    def lifted(self, x: PyTree[Array], y: PyTree[Array]) -> "BlockMeans":
        """With the loss made a pytree."""
        require_blocks(self.blocks, y)
        form = lambda v, axes: jax.ShapeDtypeStruct(jnp.shape(v)[axes:], jnp.result_type(v))  # noqa: E731
        one_y = jax.tree.map(lambda v: form(v, 1), y)
        datum = jax.tree.map(lambda v: form(v, 2), self.data)
        loss = lift.lift(self.loss, x, one_y, datum, what=f"{self.name} loss")
        return self if loss is self.loss else lift.replaced(self, loss=loss)


def require_blocks(blocks: int, y: PyTree[Array]) -> None:
    """Raises where the lower variable has no leading axis of that length."""
    for path, v in jax.tree_util.tree_leaves_with_path(y):
        if jnp.shape(v)[:1] != (blocks,):
            found = f"{v.shape[0]} blocks" if jnp.ndim(v) else "no axis of blocks"
            where = jax.tree_util.keystr(path)
            raise ValueError(
                f"the lower variable{where} has {found}, the data have {blocks}; "
                "its leading axis is that of blocks"
            )


class MultiBlockBilevel(Bilevel):
    r"""A `Bilevel` problem whose lower level is $m$ problems that share nothing but $x$.

    $$\min_x \frac1m\sum_{i=1}^m \frac1n\sum_{j=1}^n f(x, y_i^\star(x), a_{ij}) + p(x), \qquad
      y_i^\star(x) = \arg\min_{y_i} \frac1{n'}\sum_{j=1}^{n'} g(x, y_i, b_{ij}) + q(y_i).$$

    Tasks that share regularisation, one-against-the-rest classifiers, folds of a cross-validation and losses
    with an expectation inside a nonlinear function have this form. To any solver of bilevel problems it is
    one with lower variable $(y_1, \dots, y_m)$ and the sum of the $m$ objectives below. Besides it offers the
    oracles of some blocks, and of some terms of each, which return one row a block: ``blocks`` are its
    number, ``y`` and ``v`` the rows of these blocks, and row $k$ of ``indices`` names terms of block number
    ``blocks[k]``; None means all of them.

    Args:
        outer_loss: $f$, ``outer_loss(x, one_y, one_datum)``, a scalar.
        inner_loss: $g$, likewise; smooth, regularisers included.
        outer_data: a pytree of arrays with leading axes $(m, n)$.
        inner_data: likewise, $(m, n')$.
        outer_g: $p$, as in `Bilevel`.
        inner_g: $\sum_i q(y_i)$, as in `Bilevel` a function of all of $y$.
        measure: as in `Bilevel`.

    Raises:
        ValueError: numbers of blocks or terms that disagree.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> loss = lambda x, y, d: (y - d) ** 2
        >>> ridge = lambda x, y, d: (y - d) ** 2 + jnp.exp(x) * y**2
        >>> valid, train = jnp.array([[1.0], [2.0], [3.0]]), jnp.array([[3.0, 5.0], [1.0, 1.0], [2.0, 4.0]])
        >>> problem = fr.MultiBlockBilevel(loss, ridge, valid, train)
        >>> problem.block_gradients(0.0, jnp.zeros(2), jnp.array([2, 0]), None).tolist()
        [-6.0, -8.0]
    """

    def __init__(
        self,
        outer_loss: Callable,
        inner_loss: Callable,
        outer_data: PyTree[Array],
        inner_data: PyTree[Array],
        *,
        outer_g: Function | None = None,
        inner_g: Function | None = None,
        measure: Callable[[PyTree[Array], PyTree[Array]], Mapping[str, Scalar]] | None = None,
    ):
        outer = BlockMeans(outer_loss, outer_data, jnp.mean, "outer")
        inner = BlockMeans(inner_loss, inner_data, jnp.sum, "inner")
        if outer.blocks != inner.blocks:
            raise ValueError(
                f"outer_data have {outer.blocks} blocks, inner_data {inner.blocks}; "
                "both need one for each lower problem"
            )
        super().__init__(outer, inner, outer_g or Zero(), inner_g or Zero(), measure=measure)

    @property
    def blocks(self) -> int:
        """How many lower problems there are."""
        return self._inner.blocks

    def block_outer_gradients(
        self, x: PyTree[Array], y: PyTree[Array], blocks: Blocks, indices: Terms
    ) -> tuple:
        r"""$(\nabla_x f_i, \nabla_y f_i)$, a row a block."""
        gradients = jax.vmap(jax.grad(self._outer.block, argnums=(0, 1)), in_axes=(None, 0, 0))
        return gradients(x, y, self._outer.drawn(blocks, indices))

    def block_gradients(
        self, x: PyTree[Array], y: PyTree[Array], blocks: Blocks, indices: Terms
    ) -> PyTree[Array]:
        r"""$\nabla_y g_i$, a row a block."""
        gradients = jax.vmap(jax.grad(self._inner.block, argnums=1), in_axes=(None, 0, 0))
        return gradients(x, y, self._inner.drawn(blocks, indices))

    def block_products(
        self, x: PyTree[Array], y: PyTree[Array], v: PyTree[Array], blocks: Blocks, indices: Terms
    ) -> tuple:
        r"""$(\nabla^2_{xy} g_i\, v_i, \nabla^2_{yy} g_i\, v_i)$, a row a block."""

        def of_one(y: PyTree[Array], v: PyTree[Array], data: PyTree[Array]) -> tuple:
            slope = lambda x, y: jax.grad(self._inner.block, argnums=1)(x, y, data)  # noqa: E731
            return jax.vjp(slope, x, y)[1](v)

        return jax.vmap(of_one)(y, v, self._inner.drawn(blocks, indices))

    def block_hessians(
        self, x: PyTree[Array], y: PyTree[Array], blocks: Blocks, indices: Terms
    ) -> Float[Array, "blocks d d"]:
        r"""$\nabla^2_{yy} g_i$ as matrices over the raveled $y_i$, each for a product a row."""

        def of_one(y: PyTree[Array], data: PyTree[Array]) -> Array:
            flat, unravel = ravel_pytree(y)
            slope = jax.grad(lambda v: self._inner.block(x, unravel(v), data))
            return jax.jacfwd(slope)(flat)

        return jax.vmap(of_one)(y, self._inner.drawn(blocks, indices))

    def offers(self) -> dict[str, str]:
        return super().offers() | {"blocks": "the oracles of single lower problems and of their terms"}

    def start(self, x0: PyTree[Array]) -> BilevelPoint:
        point = super().start(x0)
        require_blocks(self.blocks, point.lower)
        return point

    @property
    def _outer(self) -> Any:
        return self.outer

    @property
    def _inner(self) -> Any:
        return self.inner
