"""Limited-memory BFGS."""

from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Inexact, PRNGKeyArray, PyTree, Scalar

from frechet.problems.composite import Composite
from frechet.solvers.known_value import KnownValue
from frechet.solvers.line_search import descent
from frechet.solvers.line_search.descent import DescentState
from frechet.solvers.line_search.search import Found, LineSearch
from frechet.solvers.line_search.zoom import Zoom


class Pairs(NamedTuple):
    r"""The last few pairs, the newest last, each raveled as by `jax.flatten_util.ravel_pytree`.

    Attributes:
        s: moves $s_i = x_{i+1} - x_i$.
        y: changes of gradient.
        rho: $1/s_i^\top y_i$; 0 where there is no pair.
        scale: $\gamma$, what the inverse Hessian is taken for before the pairs.
    """

    s: Inexact[Array, "history n"]
    y: Inexact[Array, "history n"]
    rho: Float[Array, " history"]
    scale: Scalar

    def inverse_product(self, v: Inexact[Array, " n"]) -> Inexact[Array, " n"]:
        r"""$Hv$, with $H$ the inverse Hessian that BFGS makes of $\gamma I$ and the pairs.

        Source: Nocedal, Wright 2006, Numerical Optimization, algorithm 7.4.
        """

        def back(q: Array, pair: tuple) -> tuple:
            s, y, rho = pair
            a = rho * jnp.real(jnp.vdot(s, q))
            return (q - a * y).astype(q.dtype), a

        def forth(r: Array, pair: tuple) -> tuple:
            s, y, rho, a = pair
            return (r + (a - rho * jnp.real(jnp.vdot(y, r))) * s).astype(r.dtype), None

        q, a = jax.lax.scan(back, v, (self.s, self.y, self.rho), reverse=True)
        return jax.lax.scan(forth, (self.scale * q).astype(v.dtype), (self.s, self.y, self.rho, a))[0]


class LBFGS(KnownValue):
    r"""L-BFGS: a quasi-Newton method for smooth $f$ of many unknowns.

    The step goes along $-H_k \nabla f(x_k)$, with $H_k$ what the last few pairs
    $s = x_{k+1} - x_k$, $y = \nabla f(x_{k+1}) - \nabla f(x_k)$ make of $\gamma I$,
    $\gamma = s^\top y / y^\top y$ for the newest. Its length is found by a line search that tries 1 first.
    Pairs with $s^\top y$ not positive do not count. The state's ``memory`` holds the pairs.

    With bounds, use `LBFGSB`.

    Args:
        history: how many pairs are kept.
        search: the line search.
        scaled: whether $\gamma$ is as above, or 1.

    Source: Nocedal, Wright 2006, Numerical Optimization, algorithm 7.5.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> rosenbrock = lambda x: 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2
        >>> fr.solve(fr.Composite(rosenbrock), jnp.array([-1.2, 1.0]), LBFGS()).x.round(2).tolist()
        [1.0, 1.0]
    """

    accepts: ClassVar[type] = Composite
    needs: ClassVar[frozenset[str]] = frozenset({"smooth"})
    check_every: ClassVar[int] = 1

    history: int = eqx.field(default=10, static=True)
    search: LineSearch = eqx.field(default_factory=Zoom)
    scaled: bool = eqx.field(default=True, static=True)

    def __check_init__(self):
        if self.history < 0:
            raise ValueError(f"history must not be negative, got {self.history}")

    def init(self, problem: Composite, x0: PyTree[Array], *, key: PRNGKeyArray) -> DescentState:
        return descent.begin(problem, x0, no_pairs(x0, self.history))

    def step(self, problem: Composite, state: DescentState, *, key: PRNGKeyArray) -> DescentState:
        return descent.advance(problem, state, self.search, jnp.ones_like(state.step), self.turn)

    def turn(self, state: DescentState, found: Found) -> tuple[Pairs, PyTree[Array]]:
        """The pairs after a step, and the direction they give."""
        (flat, unravel), pairs = ravel_pytree(found.x), state.memory
        gradient = ravel_pytree(found.gradient)[0]
        s = flat - ravel_pytree(state.x)[0]
        y = jnp.conj(gradient - ravel_pytree(state.gradient)[0]).astype(s.dtype)
        sy, yy = jnp.real(jnp.vdot(s, y)), jnp.real(jnp.vdot(y, y))
        curved = sy > 0
        rho = jnp.where(curved, 1 / jnp.where(curved, sy, 1), 0)
        if self.history:
            push = lambda old, new: jnp.concatenate([old[1:], new[None].astype(old.dtype)])  # noqa: E731
            scale = pairs.scale
            if self.scaled:
                scale = jnp.where(curved, sy / jnp.where(curved, yy, 1), scale).astype(scale.dtype)
            pairs = Pairs(push(pairs.s, s), push(pairs.y, y), push(pairs.rho, rho), scale)
        return pairs, unravel(-pairs.inverse_product(jnp.conj(gradient).astype(s.dtype)))


def no_pairs(x: PyTree[Array], history: int) -> Pairs:
    """Room for pairs of points like ``x``."""
    flat = ravel_pytree(x)[0]
    none = jnp.zeros((history, flat.size), flat.dtype)
    return Pairs(none, none, jnp.zeros(history, none.real.dtype), jnp.ones((), none.real.dtype))
