"""Momentum with exponentially distributed steps, and the same for any optimizer: online to nonconvex."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, PRNGKeyArray

from frechet.core.space import Choice, LogUniform
from frechet.optimizers.moments import at_least_float32, bias_correction
from frechet.optimizers.registry import optimizer


class ScaleByExponentialState(NamedTuple):
    """The random key of the next step."""

    key: PRNGKeyArray


def scale_by_exponential(key: Any = 0) -> optax.GradientTransformation:
    r"""Multiplies an update by $s \sim \mathrm{Exp}(1)$, one number for all leaves, a new one each step.

    The scale turns a linear bound into the function's own decrease, however rough $F$ is:
    $\mathbb{E}[F(x + s\Delta) - F(x)] = \mathbb{E}\,\langle \nabla F(x + s\Delta), \Delta\rangle$.

    Args:
        key: an integer seed or a key of `jax.random.key`.

    Returns:
        A transformation, the last of a chain. Its state is a key.

    Source:
        Zhang, Cutkosky 2024, Random scaling and momentum for non-smooth non-convex optimization, ICML,
        arXiv 2405.09742.

    Example:
        >>> tx = scale_by_exponential()
        >>> u, _ = tx.update({"w": jnp.ones(2), "b": jnp.array(2.0)}, tx.init(None))
        >>> bool(u["w"][0] == u["w"][1]), bool(u["b"] == 2 * u["w"][0])
        (True, True)
    """

    def init_fn(params):
        del params
        typed = isinstance(key, Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
        return ScaleByExponentialState(key if typed else jax.random.key(key))

    def update_fn(updates, state, params=None):
        del params
        now, after = jax.random.split(state.key)
        s = jax.random.exponential(now, dtype=jnp.float32)  # the same numbers in every precision
        scaled = jax.tree.map(lambda u: s.astype(u.dtype) * u, at_least_float32(updates))
        return optax.tree.cast_like(scaled, updates), ScaleByExponentialState(after)

    return optax.GradientTransformation(init_fn, update_fn)


def online_to_nonconvex(
    learner: optax.GradientTransformation, key: Any = 0
) -> optax.GradientTransformationExtraArgs:
    r"""Makes of an online learner a method for objectives neither smooth nor convex.

    $$x_{t+1} = x_t + s_t \Delta_t, \qquad s_t \sim \mathrm{Exp}(1)$$

    Its regret on the linear losses $\langle g_t, \Delta\rangle$, discounted and regularised, bounds how far
    the average of `average_iterates` is from stationary.

    Args:
        learner: any optimizer, with its learning rate and its weight decay: $\Delta_t$ is its whole update.
        key: an integer seed or a key of `jax.random.key`.

    Returns:
        A transformation; it tolerates extra arguments and passes them on.

    Source:
        Zhang, Cutkosky 2024, Random scaling and momentum for non-smooth non-convex optimization, ICML,
        arXiv 2405.09742.

    Example:
        >>> tx = online_to_nonconvex(optax.adamw(1e-3), key=1)
        >>> params = jnp.ones(2)
        >>> updates, state = tx.update(jnp.array([1.0, 2.0]), tx.init(params), params)
        >>> bool(jnp.all(updates < 0))
        True
    """
    return optax.chain(learner, scale_by_exponential(key))


class AverageIteratesState(NamedTuple):
    """``iterate_average`` weighs all iterates so far; `optax.tree.get` finds it by this name."""

    count: ArrayLike
    iterate_average: optax.Params


def average_iterates(decay: Any = 0.99) -> optax.GradientTransformation:
    r"""Keeps the exponential moving average of the iterates, corrected for its bias.

    $$\bar x_t = \frac{\beta - \beta^t}{1 - \beta^t} \bar x_{t-1} + \frac{1 - \beta}{1 - \beta^t} x_t$$

    It changes nothing and goes last in a chain. Read it by ``optax.tree.get(state, "iterate_average")``.

    Args:
        decay: $\beta$ in [0, 1); for `random_scaling` its own.

    Returns:
        A transformation; its ``update`` needs the parameters.

    Source:
        Zhang, Cutkosky 2024, Random scaling and momentum for non-smooth non-convex optimization, ICML,
        arXiv 2405.09742.

    Example:
        >>> tx = optax.chain(optax.sgd(1.0), average_iterates(0.5))
        >>> x, state = jnp.array(4.0), tx.init(jnp.array(4.0))
        >>> for _ in range(2):  # the iterates 3 and 2, weighed 1 to 2
        ...     updates, state = tx.update(jnp.array(1.0), state, x)
        ...     x = optax.apply_updates(x, updates)
        >>> round(float(optax.tree.get(state, "iterate_average")), 4)
        2.3333
    """

    def init_fn(params):
        return AverageIteratesState(jnp.zeros([], jnp.int32), jax.tree.map(jnp.asarray, params))

    def update_fn(updates, state, params=None):
        if params is None:
            raise ValueError("average_iterates needs the parameters: update(grads, state, params)")
        count = optax.safe_increment(state.count)
        share = (1 - decay) / bias_correction(decay, count)
        u, p, before = at_least_float32((updates, params, state.iterate_average))
        average = jax.tree.map(lambda u, p, a: a + share * (p + u - a), u, p, before)
        return updates, AverageIteratesState(count, optax.tree.cast_like(average, params))

    return optax.GradientTransformation(init_fn, update_fn)


class DiscountedDescentState(NamedTuple):
    """``delta`` is the update before, where momentum stands; ``count`` where a schedule stands."""

    count: ArrayLike
    delta: optax.Updates


def discounted_descent(
    learning_rate: optax.ScalarOrSchedule = 0.01, beta: Any = 0.9, mu: Any = 0.0
) -> optax.GradientTransformation:
    r"""Online gradient descent on discounted, regularised linear losses: momentum by another name.

    $$\Delta_t = \frac{\beta}{1 + \eta\mu} (\Delta_{t-1} - \eta g_t)$$

    from the losses $\beta^{-t} (\langle g_t, \Delta\rangle + \frac{\mu}{2} \|\Delta\|^2)$, with the powers
    of $\beta$ folded in. The same as SGD with momentum $\tilde\beta = \beta / (1 + \eta\mu)$ and learning
    rate $\eta\tilde\beta$; where $\eta$ is scheduled, momentum remembers the rate of its time.

    Args:
        learning_rate: $\eta$, a scalar or a schedule.
        beta: $\beta$ in (0, 1), the discount.
        mu: $\mu \ge 0$, the regularisation of the step, not of the parameters.

    Returns:
        A transformation; its update is $\Delta_t$, to be added.

    Source:
        Zhang, Cutkosky 2024, Random scaling and momentum for non-smooth non-convex optimization, ICML,
        arXiv 2405.09742.

    Example:
        >>> tx = discounted_descent(learning_rate=1.0, beta=0.5)
        >>> _, state = tx.update(jnp.array([4.0]), tx.init(jnp.zeros(1)))
        >>> tx.update(jnp.array([4.0]), state)[0]
        Array([-3.], dtype=float32)
    """

    def init_fn(params):
        return DiscountedDescentState(jnp.zeros([], jnp.int32), optax.tree.zeros_like(params))

    def update_fn(updates, state, params=None):
        del params
        eta = learning_rate(state.count) if callable(learning_rate) else learning_rate
        discount = beta / (1 + eta * mu)
        g, before = at_least_float32((updates, state.delta))
        # multiplied out, XLA reads the old step once
        delta = jax.tree.map(lambda d, g: discount * d - discount * eta * g, before, g)
        new_state = DiscountedDescentState(
            optax.safe_increment(state.count), optax.tree.cast_like(delta, state.delta)
        )
        return optax.tree.cast_like(delta, updates), new_state

    return optax.GradientTransformation(init_fn, update_fn)


@optimizer(space={"learning_rate": LogUniform(1e-4, 1.0), "beta": Choice(0.9, 0.95, 0.99)})
def random_scaling(
    learning_rate: optax.ScalarOrSchedule = 0.01, beta: Any = 0.9, mu: Any = 0.0, key: Any = 0
) -> optax.GradientTransformationExtraArgs:
    r"""SGD with momentum whose every step is scaled by an exponential random number.

    $$\Delta_t = \frac{\beta}{1 + \eta\mu} (\Delta_{t-1} - \eta g_t), \qquad
      x_{t+1} = x_t + s_t \Delta_t, \qquad s_t \sim \mathrm{Exp}(1)$$

    It finds points stationary in the sense of Goldstein at the best possible rate for objectives that are
    neither smooth nor convex. The guarantee is of the average of iterates: append
    ``average_iterates(beta)`` to the chain to keep it.

    Args:
        learning_rate: $\eta$, a scalar or a schedule.
        beta: $\beta$ in (0, 1), the momentum.
        mu: $\mu \ge 0$, regularises the step; there is no decay of weights.
        key: an integer seed or a key of `jax.random.key`.

    Returns:
        A transformation whose state is as large as the parameters.

    Source:
        Zhang, Cutkosky 2024, Random scaling and momentum for non-smooth non-convex optimization, ICML,
        arXiv 2405.09742.

    Example:
        >>> tx = optax.chain(random_scaling(0.1), average_iterates(0.9))
        >>> params = jnp.array([1.0, -2.0])
        >>> updates, state = tx.update(jnp.array([3.0, -4.0]), tx.init(params), params)
        >>> jnp.sign(updates)
        Array([-1.,  1.], dtype=float32)
    """
    return online_to_nonconvex(discounted_descent(learning_rate, beta, mu), key)
