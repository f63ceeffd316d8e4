"""One scalar up or down until a certificate holds: the shared core of searches and regularisations."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PyTree, Scalar


def trial_loop(
    make_trial: Callable[..., PyTree[Array]],
    certificate: Callable[..., Bool[Array, ""]],
    scalar: Scalar,
    *args: Any,
    factor: float = 0.5,
    max_trials: int = 40,
    like: PyTree[Array] | None = None,
) -> tuple[Scalar, PyTree[Array], Int[Array, ""]]:
    """Multiplies a scalar by ``factor`` until the trial it gives is certified.

    NaN fails every comparison, so a certificate that compares numbers made from the whole trial takes it for
    "try a smaller step". When derivatives are unrolled through it the scalar counts as constant.

    Args:
        make_trial: ``make_trial(scalar, *args)``, a pytree of arrays. It and ``certificate`` may not close
            over traced arrays: pass those in ``args``.
        certificate: ``certificate(scalar, trial, *args)``, whether to accept.
        scalar: the first scalar to try.
        *args: pytrees handed to both.
        factor: what the scalar is multiplied by after a rejection.
        max_trials: trials at most; the last one is returned even if it is not certified.
        like: a pytree like a trial, where one is at hand: otherwise ``make_trial`` is traced for it.

    Returns:
        The scalar, its trial, and how many trials were made (each costs what a trial costs).

    Example:
        >>> scalar, trial, trials = trial_loop(
        ...     lambda s, x: x - s * x, lambda s, t, x: abs(t) <= abs(x), jnp.asarray(8.0), jnp.ones(()))
        >>> float(scalar), float(trial), int(trials)
        (2.0, -1.0, 3)
    """
    scalar = jnp.asarray(scalar)

    @eqx.filter_custom_jvp
    def search(scalar: Scalar, args: Any) -> tuple:
        def body(carry: tuple) -> tuple:
            scalar, _, _, n = carry
            scalar = jnp.where(n == 0, scalar, scalar * factor)
            trial = make_trial(scalar, *args)
            return scalar, trial, certificate(scalar, trial, *args), n + 1

        shape = jax.eval_shape(lambda: make_trial(scalar, *args)) if like is None else like
        blank = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shape)
        start = (scalar, blank, jnp.asarray(False), jnp.zeros((), int))
        scalar, trial, _, n = jax.lax.while_loop(lambda c: ~c[2] & (c[3] < max_trials), body, start)
        return scalar, trial, n

    @search.def_jvp
    def rule(primals: tuple, tangents: tuple) -> tuple:
        scalar, trial, n = search(*primals)
        _, dot = eqx.filter_jvp(lambda args: make_trial(scalar, *args), primals[1:], tangents[1:])
        return (scalar, trial, n), (jnp.zeros_like(scalar), dot, None)

    return search(scalar, args)
