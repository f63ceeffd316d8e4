"""TrAct: the first layer's weights follow gradient steps on its pre-activations."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, PyTree

from frechet.core.space import LogUniform
from frechet.optimizers.layout import EQUINOX, FLAX
from frechet.optimizers.registry import optimizer


class TrActState(NamedTuple):
    """``gram`` is the average Gram matrix of the inputs at every kernel; nothing when none is averaged."""

    count: Array
    gram: PyTree[Array]


def scale_by_tract(
    damping: ArrayLike = 0.1, *, channel_axis: int = FLAX, gram_decay: float | None = None
) -> optax.GradientTransformationExtraArgs:
    r"""Multiplies gradients of kernels by the inverse damped Gram matrix of their layer's inputs.

    $$\nabla_W \leftarrow \nabla_W \left(\frac{1}{b} a^T a + \lambda I\right)^{-1}$$

    for a layer $z = a W^T$ with inputs $a$, a row each of $b$ samples or positions. Of all changes of $W$ it
    comes closest to the gradient step on the pre-activations $z$:

    $$\Delta W = \arg\min_D \sum_i \|\Delta z_i - D a_i\|^2 + \lambda b \|D\|^2,$$

    $\Delta z_i$ being the gradient of sample $i$'s own loss. With fewer rows than inputs a matrix of
    $b \times b$ is factorised instead. ``update`` takes ``layer_input``, a pytree like the updates with the
    inputs (rows by fan-in, or more leading axes) at kernels to be changed and None elsewhere; `patches` makes
    them for convolutions.

    Args:
        damping: $\lambda$; 0.1 for standardised inputs.
        channel_axis: the axis of the output channels, `layout.FLAX` or `layout.EQUINOX`.
        gram_decay: $\rho$ of an exponential average of the Gram matrix over steps, one factor of K-FAC, its
            bias towards the zero it starts from corrected; every kernel then has a matrix in the state, so
            mask those of other layers. The current batch alone when left out.

    Returns:
        A transformation that takes extra arguments.

    Raises:
        TypeError: at ``update``, without ``layer_input``.
        ValueError: at ``update``, an input's last axis is not the kernel's fan-in.
    """

    def fan_in(w):
        return w.size // w.shape[channel_axis]

    def averaged(w):
        return gram_decay is not None and jnp.ndim(w) >= 2

    def init_fn(params):
        def zeros(w):
            return jnp.zeros((fan_in(w),) * 2, _wide(w)) if averaged(w) else None

        return TrActState(jnp.zeros([], jnp.int32), jax.tree.map(zeros, params))

    def update_fn(updates, state, params=None, *, layer_input=None, **extra_args):
        del params, extra_args
        if layer_input is None:
            raise TypeError("tract needs update(..., layer_input=), a pytree like the updates; see its docs")
        count = jnp.asarray(optax.safe_increment(state.count))

        def gram(g, a, old):
            if gram_decay is None or a is None or isinstance(g, optax.MaskedNode):
                return old
            new = _gram(_rows(a, fan_in(g))).astype(old.dtype)
            return gram_decay * old + (1 - gram_decay) * new

        def precondition(g, a, average):
            if a is None or isinstance(g, optax.MaskedNode):
                return g
            a = _rows(a, fan_in(g))
            inputs_first = jnp.moveaxis(g, channel_axis, -1)
            flat = inputs_first.reshape(a.shape[1], -1).astype(a.dtype)
            if gram_decay is not None:
                flat = _solve(optax.bias_correction(average, gram_decay, count), damping, flat)
            elif a.shape[0] < a.shape[1]:
                inner = _solve(_outer(a), damping, jnp.matmul(a, flat, precision="highest"))
                flat = (flat - jnp.matmul(a.T, inner, precision="highest") / len(a)) / damping
            else:
                flat = _solve(_gram(a), damping, flat)
            return jnp.moveaxis(flat.reshape(inputs_first.shape), -1, channel_axis).astype(g.dtype)

        is_leaf = lambda u: u is None or isinstance(u, optax.MaskedNode)  # noqa: E731
        grams = jax.tree.map(gram, updates, layer_input, state.gram, is_leaf=is_leaf)
        updates = jax.tree.map(precondition, updates, layer_input, grams, is_leaf=is_leaf)
        return updates, TrActState(count, grams)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


@optimizer(
    space={"learning_rate": LogUniform(1e-4, 1e-1), "damping": LogUniform(1e-2, 1.0)},
    needs=("smooth", "layer inputs"),
)
def tract(
    learning_rate: optax.ScalarOrSchedule = 1e-3,
    damping: ArrayLike = 0.1,
    *,
    channel_axis: int = FLAX,
    gram_decay: float | None = None,
    base: Any = None,
) -> optax.GradientTransformationExtraArgs:
    r"""TrAct on the layers whose inputs are given, then an optimizer of all weights.

    See `scale_by_tract` for what is done and for ``layer_input``, which ``update`` takes. The method is meant
    for the first layer, with standardised inputs. Weight decay, if any, goes into ``base``.

    Args:
        learning_rate: a number or a schedule.
        damping: $\lambda$; 0.1 everywhere in the paper.
        channel_axis: the axis of the output channels, `layout.FLAX` or `layout.EQUINOX`.
        gram_decay: of an exponential average of the inputs' Gram matrix; the current batch when left out.
        base: the transformation that follows, without learning rate; ``optax.scale_by_adam()`` when left out,
            ``optax.trace(0.9)`` for stochastic gradient descent with momentum.

    Returns:
        An optax transformation whose ``update`` takes ``layer_input``.

    Source:
        Felix Petersen, Christian Borgelt, Stefano Ermon 2024, TrAct: Making First-layer Pre-Activations
        Trainable, arXiv 2410.23970.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> params = {"kernel": jnp.zeros((2, 1)), "bias": jnp.zeros(1)}
        >>> a = jnp.array([[3.0, 0.0], [0.0, 0.3]])
        >>> loss = lambda p: jnp.mean((a @ p["kernel"] + p["bias"] - 1) ** 2)
        >>> tx = tract(1.0, damping=0.01, base=optax.identity())
        >>> layer_input = {"kernel": a, "bias": None}
        >>> updates, _ = tx.update(jax.grad(loss)(params), tx.init(params), layer_input=layer_input)
        >>> [round(u, 2) for u in updates["kernel"].ravel().tolist()]  # the gradient is (-3, -0.3)
        [0.67, 5.45]
    """
    return optax.chain(
        scale_by_tract(damping, channel_axis=channel_axis, gram_decay=gram_decay),
        optax.scale_by_adam() if base is None else base,
        optax.scale_by_learning_rate(learning_rate),
    )


def tract_linear(
    x: Array, kernel: Array, bias: Array | None = None, *, damping: ArrayLike = 0.1, channel_axis: int = FLAX
) -> Array:
    r"""A linear layer whose kernel gets TrAct's gradient, for use with any optimizer.

    The value and the gradients of input and bias are those of an ordinary layer; the kernel's is

    $$\nabla_W = G^T \left(\frac{1}{b} a a^T + \lambda I\right)^{-1} a = G^T a \left(\frac{1}{b} a^T a
        + \lambda I\right)^{-1},$$

    $G$ being the gradient of the pre-activations, by whichever matrix is smaller. Give it the whole batch:
    under ``vmap`` every sample would be a batch of its own. A convolution is this layer on `patches`.

    Args:
        x: inputs, shape (..., fan-in).
        kernel: shape (fan-in, channels), or (channels, fan-in) with ``channel_axis=layout.EQUINOX``.
        bias: shape (channels,).
        damping: $\lambda$, a constant: no gradient goes there.
        channel_axis: the axis of the output channels.

    Returns:
        Pre-activations, shape (..., channels).

    Raises:
        ValueError: the fan-in of kernel and input differ.

    Source:
        Petersen, Borgelt, Ermon 2024, arXiv 2410.23970.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x, w = jnp.array([[2.0, 1.0]]), jnp.zeros((2, 1))
        >>> gradient = jax.grad(lambda w: tract_linear(x, w, damping=1.0).sum())(w)  # otherwise (2, 1)
        >>> [round(g, 3) for g in gradient.ravel().tolist()]
        [0.333, 0.167]
    """
    kernel = jnp.moveaxis(kernel, channel_axis, -1)
    if x.shape[-1] != kernel.shape[0]:
        raise ValueError(f"the kernel takes {kernel.shape[0]} inputs, x has {x.shape[-1]} on its last axis")
    z = _pre_activations(x.reshape(-1, x.shape[-1]), kernel, jnp.asarray(damping))
    z = z.reshape(*x.shape[:-1], -1)
    return z if bias is None else z + bias


@jax.custom_vjp
def _pre_activations(a: Array, kernel: Array, damping: Array) -> Array:
    return a @ kernel


def _forward(a: Array, kernel: Array, damping: Array) -> tuple[Array, tuple]:
    return a @ kernel, (a, kernel, damping)


def _backward(saved: tuple, g: Array) -> tuple[Array, Array, Array]:
    a, kernel, damping = saved
    wide = a.astype(_wide(a))
    if len(a) < a.shape[1]:
        ours = jnp.matmul(wide.T, _solve(_outer(wide), damping, g.astype(wide.dtype)), precision="highest")
    else:
        usual = jnp.matmul(wide.T, g.astype(wide.dtype), precision="highest")
        ours = _solve(_gram(wide), damping, usual)
    return g @ kernel.T, ours.astype(kernel.dtype), jnp.zeros_like(damping)


_pre_activations.defvjp(_forward, _backward)


def patches(
    x: Array,
    window: Sequence[int],
    strides: Sequence[int] | int = 1,
    padding: str | Sequence[tuple[int, int]] = "VALID",
    *,
    channel_axis: int = FLAX,
) -> Array:
    """What a convolution multiplies its kernel with, a row a position, ordered as the kernel is.

    Args:
        x: inputs, (batch, ..., channels), or (batch, channels, ...) with ``channel_axis=layout.EQUINOX``.
        window: the spatial shape of the kernel.
        strides: of the convolution, one for all axes or one each.
        padding: of the convolution, as in `jax.lax.conv_general_dilated`.
        channel_axis: where kernels keep their output channels; -1 for HWIO kernels, 0 for OIHW.

    Returns:
        Shape (positions, fan-in), the latter in the order of a kernel of shape (*window, channels, out) or
        (out, channels, *window).

    Example:
        >>> import jax.numpy as jnp
        >>> patches(jnp.arange(4.0).reshape(1, 4, 1), (3,)).tolist()
        [[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]]
    """
    first = x if channel_axis == EQUINOX else jnp.moveaxis(x, -1, 1)
    strides = (strides,) * len(window) if isinstance(strides, int) else strides
    exact = jax.lax.Precision.HIGHEST  # it is a convolution with zeros and ones, rounded on some hardware
    cut = jax.lax.conv_general_dilated_patches(first, window, strides, padding, precision=exact)
    # its features are ordered as OIHW kernels: channels before the window's axes
    rows = jnp.moveaxis(cut, 1, -1).reshape(-1, first.shape[1], cut.shape[1] // first.shape[1])
    return (rows if channel_axis == EQUINOX else jnp.swapaxes(rows, 1, 2)).reshape(len(rows), -1)


def _wide(w: Array) -> Any:
    return jnp.promote_types(jnp.result_type(w), jnp.float32)


def _rows(a: Array, fan_in: int) -> Array:
    """Inputs as a matrix of at least single precision."""
    if a.shape[-1] != fan_in:
        raise ValueError(f"the kernel takes {fan_in} inputs, layer_input has {a.shape[-1]} on its last axis")
    return a.reshape(-1, fan_in).astype(_wide(a))


def _solve(matrix: Array, damping: ArrayLike, rhs: Array) -> Array:
    """(matrix + damping I)^-1 rhs of a positive semidefinite matrix."""
    damped = matrix + jnp.asarray(damping, matrix.dtype) * jnp.eye(len(matrix), dtype=matrix.dtype)
    return jax.scipy.linalg.solve(damped, rhs, assume_a="pos")


def _gram(a: Array) -> Array:
    """a^T a over the number of rows."""
    return jnp.matmul(a.T, a, precision="highest") / len(a)


def _outer(a: Array) -> Array:
    """a a^T over the number of rows."""
    return jnp.matmul(a, a.T, precision="highest") / len(a)
