"""Gradient play: every player follows its own gradient, by any Optax transformation."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PRNGKeyArray, PyTree

from frechet.core.calls import Calls
from frechet.core.solver import State
from frechet.problems.inclusion import Inclusion
from frechet.solvers.saddle.stepping import Batched
from frechet.solvers.wrappers.counted import precision_of
from frechet.solvers.wrappers.handed import same_types
from frechet.solvers.wrappers.optax import Made, Transformation


def transformation(tx: Any) -> Made | Transformation:
    """Converter of a solver's ``optimizer`` field."""
    return tx if isinstance(tx, Made | Transformation) else Transformation(tx)


class GradientPlayState(State):
    """``inner`` is the transformation's own state."""

    inner: PyTree[Array]


class GradientPlay(Batched):
    r"""All players step at once along their own gradients, as an Optax transformation makes steps of them.

    $$u_k, m_{k+1} = \mathrm{update}(F(z_k), m_k, z_k), \qquad z_{k+1} = \mathrm{prox}_g(z_k + u_k)$$

    What games are learnt by in practice. Players turn in circles where the game is a rotation; it converges
    where the operator is strongly monotone and steps are small, or stable near the equilibrium. The proximal
    map is that of step 1, as optimizers scale their steps themselves: $g$ is to be the indicator of a set. A
    step costs one operator and one proximal map. Two players with an optimizer each are what `TTUR` is for.

    Args:
        optimizer: an Optax transformation, with its learning rate; by default Adam with 0.01.
        batch_size: components a step, drawn with replacement; the whole operator when left out.

    Raises:
        TypeError: ``optimizer`` is no transformation.

    Source:
        Rosen 1965, Existence and uniqueness of equilibrium points for concave n-person games; as a method of
        learning: Mazumdar, Ratliff, Sastry 2020, On gradient-based learning in continuous games,
        arXiv 1804.05464.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import frechet as fr
        >>> cournot = fr.Game(lambda z: [-q * (3.0 - z[0] - z[1]) for q in z], fr.convex.NonNegative())
        >>> start = (jnp.zeros(()), jnp.ones(()))
        >>> z = fr.solve(cournot, start, GradientPlay(optax.sgd(0.2)), tol=1e-4).x
        >>> [round(float(q), 3) for q in z]
        [1.0, 1.0]
    """

    accepts: ClassVar[type] = Inclusion
    converges: ClassVar[bool] = False  # pyright: ignore[reportIncompatibleMethodOverride]
    optimizer: Any = eqx.field(
        default_factory=lambda: Made(optax.adam, {"learning_rate": 1e-2}),
        converter=transformation,
    )

    def handed(self, z: PyTree[Array]) -> PyTree[Array]:
        """A point or operator value in the form that the transformation takes."""
        return z

    def taken(self, z: PyTree[Array]) -> PyTree[Array]:
        """The inverse of `handed`."""
        return z

    def gradient(self, F: PyTree[Array]) -> PyTree[Array]:
        """What the transformation takes for the gradient."""
        return F

    def init(self, problem: Inclusion, x0: PyTree[Array], *, key: PRNGKeyArray) -> GradientPlayState:
        with precision_of(x0):
            inner = self.optimizer.init(self.handed(x0))
        return GradientPlayState(x0, Calls(), jax.tree.map(jnp.asarray, inner))

    def step(self, problem: Inclusion, state: GradientPlayState, *, key: PRNGKeyArray) -> GradientPlayState:
        z = self.handed(state.x)
        gradient = self.gradient(self.operator(problem, state.x, self.drawn(problem, key)))
        with precision_of(z):
            updates, inner = self.optimizer.update(self.handed(gradient), state.inner, z)
            ahead: Any = optax.apply_updates(z, updates)
        ahead, inner = same_types((ahead, inner), (z, state.inner))
        return GradientPlayState(problem.prox(self.taken(ahead), 1.0), self.charged(state.calls, 1, 1), inner)
