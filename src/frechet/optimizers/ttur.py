"""Two players, two time scales: an optimizer each, one of them ascending."""

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from frechet.core.space import Choice, LogUniform
from frechet.optimizers.registry import optimizer

MINIMISER = "minimiser"
MAXIMISER = "maximiser"


def _by_key(params: PyTree[Any]) -> dict[str, str]:
    if not isinstance(params, Mapping) or set(params) != {MINIMISER, MAXIMISER}:
        got = f"keys {', '.join(map(str, params))}" if isinstance(params, Mapping) else type(params).__name__
        raise ValueError(f"parameters need the keys {MINIMISER} and {MAXIMISER}, or give labels; got {got}")
    return {k: k for k in params}


def two_players(
    minimiser: optax.GradientTransformation,
    maximiser: optax.GradientTransformation,
    labels: PyTree[str] | Callable[[Any], PyTree[str]] | None = None,
    maximiser_steps: int = 1,
) -> optax.GradientTransformationExtraArgs:
    r"""Two optimizers for $\min_\theta \max_w f(\theta, w)$: one descends in $\theta$, one ascends in $w$.

    Both are given gradients of $f$, at the same point, and step together; the maximiser's is negated before
    its optimizer sees it, so that weight decay shrinks its weights too.

    Args:
        minimiser: steps for $\theta$ (a generator), with its learning rate.
        maximiser: steps for $w$ (a discriminator or critic), with its own.
        labels: which leaf is whose: a pytree of ``"minimiser"`` and ``"maximiser"``, a prefix of the
            parameters, or a function that makes one of them. By default parameters are a mapping with these
            two keys.
        maximiser_steps: how many steps the maximiser takes to one of the minimiser ("n critic"), which stands
            still in the other calls and takes the last.

    Returns:
        A transformation.

    Raises:
        ValueError: ``maximiser_steps`` is no positive integer, or the labels do not fit.

    Source:
        Heusel, Ramsauer, Unterthiner, Nessler, Hochreiter 2017, GANs trained by a two time-scale update rule
        converge to a local Nash equilibrium, NeurIPS, arXiv 1706.08500.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> tx = two_players(optax.sgd(0.1), optax.sgd(0.5), labels=("minimiser", "maximiser"))
        >>> x = (jnp.array(1.0), jnp.array(1.0))
        >>> updates, state = tx.update(jax.grad(lambda x: x[0] * x[1])(x), tx.init(x), x)
        >>> [round(float(u), 1) for u in updates]
        [-0.1, 0.5]
    """
    if not isinstance(maximiser_steps, int) or maximiser_steps < 1:
        raise ValueError(f"maximiser_steps is a positive integer, got {maximiser_steps}")
    if maximiser_steps > 1:

        def is_last(step: Any, **_: Any) -> Any:
            return step % maximiser_steps == maximiser_steps - 1

        minimiser = optax.conditionally_mask(minimiser, is_last)
    ascending = optax.chain(optax.scale(-1.0), maximiser)
    return optax.partition(
        {MINIMISER: minimiser, MAXIMISER: ascending}, _by_key if labels is None else labels
    )


@optimizer(
    space={
        "learning_rate": LogUniform(1e-5, 1e-1),
        "maximiser_learning_rate": LogUniform(1e-5, 1e-1),
        "b1": Choice(0.0, 0.5, 0.9),
    },
    needs=("players",),
)
def ttur(
    learning_rate: optax.ScalarOrSchedule = 1e-4,
    maximiser_learning_rate: optax.ScalarOrSchedule = 3e-4,
    b1: Any = 0.5,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    labels: PyTree[str] | Callable[[Any], PyTree[str]] | None = None,
    maximiser_steps: int = 1,
) -> optax.GradientTransformationExtraArgs:
    r"""The two time-scale update rule: Adam for both players of a game, each with its own learning rate.

    $$\theta_{n+1} = \theta_n - a(n)\, \mathrm{Adam}(\nabla_\theta f), \qquad
      w_{n+1} = w_n + b(n)\, \mathrm{Adam}(\nabla_w f)$$

    Where $\sum a = \sum b = \infty$, $\sum a^2, \sum b^2 < \infty$ and $a(n) / b(n) \to 0$, stochastic
    approximation converges to a stationary local Nash equilibrium almost surely: the slow player sees a fast
    one that has converged. In practice both are constants, and their ratio is to be tuned: either player may
    be the faster. `check_time_scales` tests a pair of schedules. Other optimizers go into `two_players`.

    Args:
        learning_rate: $a$, of the minimiser (generator), a scalar or a schedule.
        maximiser_learning_rate: $b$, of the maximiser (discriminator), a scalar or a schedule.
        b1: decay rate of the average of gradients.
        b2: decay rate of the average of squares.
        eps: added to the denominator.
        labels: which leaf is whose, as in `two_players`; by default parameters have the keys ``"minimiser"``
            and ``"maximiser"``.
        maximiser_steps: steps of the maximiser to one of the minimiser.

    Returns:
        A transformation that takes gradients of $f$ for both players.

    Source:
        Heusel, Ramsauer, Unterthiner, Nessler, Hochreiter 2017, GANs trained by a two time-scale update rule
        converge to a local Nash equilibrium, NeurIPS, arXiv 1706.08500.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> tx = ttur()
        >>> x = {"minimiser": jnp.array(2.0), "maximiser": jnp.array(3.0)}
        >>> gradients = jax.grad(lambda x: x["minimiser"] * x["maximiser"])(x)
        >>> updates, state = tx.update(gradients, tx.init(x), x)
        >>> {k: round(float(u), 6) for k, u in updates.items()}
        {'maximiser': 0.0003, 'minimiser': -0.0001}
    """
    return two_players(
        optax.adam(learning_rate, b1=b1, b2=b2, eps=eps),
        optax.adam(maximiser_learning_rate, b1=b1, b2=b2, eps=eps),
        labels,
        maximiser_steps,
    )


def check_time_scales(slow: optax.Schedule, fast: optax.Schedule) -> None:
    """Checks that the ratio of two schedules of learning rates goes to zero, as the convergence proof asks.

    It looks at steps 10, 100, ..., 10^9: no number of steps can tell a limit, but constants, schedules in
    proportion and schedules that end do not pass.

    Args:
        slow: $a(n)$, from a step count to a positive number.
        fast: $b(n)$, likewise.

    Raises:
        ValueError: the ratio does not fall in each of the last decades, or not to half of what it was.

    Source:
        Heusel, Ramsauer, Unterthiner, Nessler, Hochreiter 2017, GANs trained by a two time-scale update rule
        converge to a local Nash equilibrium, NeurIPS, arXiv 1706.08500, assumption A2.

    Example:
        >>> check_time_scales(lambda n: 1 / n, lambda n: n**-0.6)
        >>> check_time_scales(lambda n: 0.1 / n, lambda n: 1 / n)
        Traceback (most recent call last):
        ValueError: slow(n) / fast(n) is 0.1 at n = 10 and 0.1 at n = 10^9; it needs to go to zero
    """
    rates = [(float(jnp.asarray(slow(10**k))), float(jnp.asarray(fast(10**k)))) for k in range(1, 10)]
    ratios = [a / b if b > 0 else math.inf for a, b in rates]
    falling = all(later < before for before, later in itertools.pairwise(ratios[4:]))  # after any warm-up
    if not (falling and ratios[-1] < 0.5 * ratios[0]):
        raise ValueError(
            f"slow(n) / fast(n) is {ratios[0]:.3g} at n = 10 and {ratios[-1]:.3g} at n = 10^9; "
            "it needs to go to zero"
        )
