"""Host functions called from compiled programs."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree


def crossing(callback: Callable, host: Callable, form: PyTree[jax.ShapeDtypeStruct], *args: Any) -> Any:
    """``host(*args)`` by way of ``callback(host, form, *args)``.

    Float64 crosses as pairs of uint32: a callback's thread does not know that its caller enabled x64 for
    itself alone, and would make float32 of it.

    Args:
        callback: `jax.pure_callback` or `jax.experimental.io_callback`, with its keywords bound.
        host: a function of NumPy arrays.
        form: what it returns, a pytree of shapes and dtypes.
        *args: its arguments, arrays.

    Raises:
        TypeError: it is differentiated.
    """

    def narrow(v: Any) -> Any:
        return jax.lax.bitcast_convert_type(v, jnp.uint32) if v.dtype == np.float64 else v

    arrays = [jnp.asarray(v) for v in args]
    wide = [v.dtype == np.float64 for v in arrays]

    def widened(*bits: Any) -> Any:
        back = [np.asarray(b, order="C") for b in bits]
        out = host(*(b.view(np.float64)[..., 0] if w else b for b, w in zip(back, wide, strict=True)))
        return jax.tree.map(
            lambda v: (
                np.frombuffer(v.tobytes(), np.uint32).reshape(*v.shape, 2) if v.dtype == np.float64 else v
            ),
            out,
        )

    bits = jax.eval_shape(lambda f: jax.tree.map(narrow, f), form)

    @jax.custom_jvp
    def crossed(*args: Any) -> Any:
        return callback(widened, bits, *args)

    @crossed.defjvp
    def rule(primals: tuple, tangents: tuple) -> tuple:
        raise TypeError('steps on the host have no derivative; use differentiate="implicit" or "none"')

    out = crossed(*map(narrow, arrays))
    return jax.tree.map(
        lambda b, f: jax.lax.bitcast_convert_type(b, f.dtype) if b.dtype != f.dtype else b, out, form
    )
