"""The two time-scale update rule as a solver: an Optax transformation for either player."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PRNGKeyArray, PyTree

from frechet.core.calls import Calls
from frechet.core.solver import State
from frechet.optimizers.ttur import ttur
from frechet.problems.saddle import Saddle, SaddlePoint
from frechet.solvers.saddle.stepping import Batched
from frechet.solvers.wrappers.counted import precision_of
from frechet.solvers.wrappers.handed import same_types
from frechet.solvers.wrappers.optax import Made, Transformation


class TTURState(State):
    """``inner`` is the transformation's own state."""

    inner: PyTree[Array]


class TTUR(Batched):
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
    converges: ClassVar[bool] = False  # pyright: ignore[reportIncompatibleMethodOverride]
    optimizer: Any = eqx.field(
        default_factory=lambda: Made(ttur, {"learning_rate": 2e-3, "maximiser_learning_rate": 1e-2}),
        converter=lambda tx: tx if isinstance(tx, Made | Transformation) else Transformation(tx),
    )

    def init(self, problem: Saddle, x0: SaddlePoint, *, key: PRNGKeyArray) -> TTURState:
        with precision_of(x0):
            inner = self.optimizer.init(x0._asdict())
        return TTURState(x0, Calls(), jax.tree.map(jnp.asarray, inner))

    def step(self, problem: Saddle, state: TTURState, *, key: PRNGKeyArray) -> TTURState:
        z = state.x
        F = self.operator(problem, z, self.drawn(problem, key))
        # The gradient of f, which the operator is but for the maximiser's sign.
        gradient = SaddlePoint(F.minimiser, jax.tree.map(jnp.negative, F.maximiser))
        with precision_of(z):
            updates, inner = self.optimizer.update(gradient._asdict(), state.inner, z._asdict())
            ahead: Any = optax.apply_updates(z._asdict(), updates)
        ahead, inner = same_types((SaddlePoint(**ahead), inner), (z, state.inner))
        return TTURState(problem.prox(ahead, 1.0), self.charged(state.calls, 1, 1), inner)
