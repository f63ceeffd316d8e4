"""The two time-scale update rule as a solver: an Optax transformation for either player."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from frechet.optimizers.ttur import ttur
from frechet.problems.saddle import Saddle, SaddlePoint
from frechet.solvers.saddle.gradient_play import GradientPlay, transformation
from frechet.solvers.wrappers.optax import Made


class TTUR(GradientPlay):
    r"""The two time-scale update rule for $\min_x \max_y f(x, y) + g_x(x) - g_y(y)$.

    Both players step at once, each by an optimizer and a learning rate of its own,

    $$x_{k+1} = \mathrm{prox}_{g_x}\bigl(x_k - a_k\,u(\nabla_x f(x_k, y_k))\bigr), \qquad
      y_{k+1} = \mathrm{prox}_{g_y}\bigl(y_k + b_k\,v(\nabla_y f(x_k, y_k))\bigr),$$

    with Adam for $u$ and $v$ unless told otherwise. Converges where $a_k / b_k \to 0$ and the maximiser alone
    has a stable attractor for each $x$ (see `frechet.optimizers.check_time_scales`); in practice both rates
    are constants, with which it comes near. The proximal maps are those of step 1, as optimizers scale their
    steps themselves: $g_x$ and $g_y$ are to be indicators of sets. A step costs one operator and one proximal
    map.

    Args:
        optimizer: what `frechet.optimizers.ttur` or `frechet.optimizers.two_players` makes; by default Adam
            for both, with learning rates of 0.002 and 0.01.
        batch_size: terms a step, drawn with replacement; the whole operator when left out.

    Raises:
        TypeError: ``optimizer`` is no transformation.

    Source:
        Heusel, Ramsauer, Unterthiner, Nessler, Hochreiter 2017, GANs trained by a two time-scale update rule
        converge to a local Nash equilibrium, NeurIPS, arXiv 1706.08500.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import frechet as fr
        >>> from frechet.optimizers import two_players
        >>> saddle = fr.Saddle(lambda x, y: -(x**2) + 2 * x * y - y**2 / 2)
        >>> solver = TTUR(two_players(optax.sgd(0.02), optax.sgd(0.2)))
        >>> z = fr.solve(saddle, (jnp.ones(()), jnp.ones(())), solver, tol=1e-3).x
        >>> bool(jnp.allclose(jnp.stack(z), 0.0, atol=2e-3))
        True
    """

    accepts: ClassVar[type] = Saddle
    optimizer: Any = eqx.field(
        default_factory=lambda: Made(ttur, {"learning_rate": 2e-3, "maximiser_learning_rate": 1e-2}),
        converter=transformation,
    )

    def handed(self, z: SaddlePoint) -> dict[str, PyTree[Array]]:
        return z._asdict()

    def taken(self, z: dict[str, PyTree[Array]]) -> SaddlePoint:
        return SaddlePoint(**z)

    def gradient(self, F: SaddlePoint) -> SaddlePoint:
        # That of f, which the operator is but for the maximiser's sign.
        return SaddlePoint(F.minimiser, jax.tree.map(jnp.negative, F.maximiser))
