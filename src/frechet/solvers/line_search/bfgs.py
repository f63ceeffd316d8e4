"""BFGS with the inverse Hessian as a matrix."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PRNGKeyArray, PyTree

from frechet.problems.composite import Composite
from frechet.solvers.known_value import KnownValue
from frechet.solvers.line_search import descent
from frechet.solvers.line_search.descent import DescentState
from frechet.solvers.line_search.search import Found, LineSearch
from frechet.solvers.line_search.zoom import Zoom


class BFGS(KnownValue):
    r"""BFGS: a quasi-Newton method for smooth $f$ of moderately many unknowns.

    The step goes along $-H_k \nabla f(x_k)$, its length found by a line search that tries 1 first. From
    $s = x_{k+1} - x_k$ and $y = \nabla f(x_{k+1}) - \nabla f(x_k)$,

    $$H_{k+1} = (I - \rho s y^\top) H_k (I - \rho y s^\top) + \rho s s^\top, \qquad \rho = 1/s^\top y,$$

    which is left out where $s^\top y$ is not positive. $H_0 = I$. Memory is quadratic in the unknowns;
    beyond a few thousand `LBFGS` is the better one. The state's ``memory`` is $H$, over the raveled ``x``.

    Args:
        search: the line search.

    Source: Nocedal, Wright 2006, Numerical Optimization, algorithm 6.1.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> rosenbrock = lambda x: 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2
        >>> fr.solve(fr.Composite(rosenbrock), jnp.array([-1.2, 1.0]), BFGS()).x.round(2).tolist()
        [1.0, 1.0]
    """

    accepts: ClassVar[type] = Composite
    needs: ClassVar[frozenset[str]] = frozenset({"smooth"})
    check_every: ClassVar[int] = 1

    search: LineSearch = eqx.field(default_factory=Zoom)

    def init(self, problem: Composite, x0: PyTree[Array], *, key: PRNGKeyArray) -> DescentState:
        flat = ravel_pytree(x0)[0]
        return descent.begin(problem, x0, jnp.eye(flat.size, dtype=flat.dtype))

    def step(self, problem: Composite, state: DescentState, *, key: PRNGKeyArray) -> DescentState:
        return descent.advance(problem, state, self.search, jnp.ones_like(state.step), self.turn)

    def turn(self, state: DescentState, found: Found) -> tuple[Array, PyTree[Array]]:
        """The inverse Hessian after a step, and the direction it gives."""
        (flat, unravel), H = ravel_pytree(found.x), state.memory
        gradient = ravel_pytree(found.gradient)[0]
        s = flat - ravel_pytree(state.x)[0]
        y = gradient - ravel_pytree(state.gradient)[0]
        sy = jnp.vdot(s, y)
        curved = sy > 0
        rho = (1 / jnp.where(curved, sy, 1)).astype(sy.dtype)
        Hy = H @ y
        cross = jnp.outer(s, Hy)
        update = (rho**2 * jnp.vdot(y, Hy) + rho) * jnp.outer(s, s) - rho * (cross + cross.T)
        H = jnp.where(curved, H + update, H).astype(H.dtype)
        return H, unravel(-(H @ gradient).astype(flat.dtype))
