"""Broyden's good method with a derivative-free line search."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.equations import Root
from frechet.solvers.trial_loop import trial_loop


class BroydenState(State):
    """``value`` is $F(x)$, ``inverse`` the approximate inverse of its Jacobian, ``count`` the steps taken."""

    value: Float[Array, " n"]
    inverse: Float[Array, "n n"]
    count: Int[Array, ""]


class Broyden(Solver):
    r"""Newton's method with a Jacobian that is computed once and then corrected by each step, for roots.

    With $s = x_{k+1} - x_k$ and $y = F(x_{k+1}) - F(x_k)$ the inverse $H$ of the approximate Jacobian changes
    by

    $$H_{k+1} = H_k + \frac{(s - H_k y)\, s^\top H_k}{s^\top H_k y},$$

    the least change that makes $H_{k+1} y = s$; it is left out where the denominator is too small. The step
    $-t H_k F(x_k)$ is shortened until
    $\|F(x_{k+1})\| \le (1 + \eta_k)\|F(x_k)\| - \sigma\|s\|^2$ with summable $\eta_k$, which asks for no
    derivatives. Convergence is superlinear near a root with a regular Jacobian. The start costs a Jacobian
    (as many products as unknowns) and a factorisation, a step one value for every length tried. The inverse
    is kept dense.

    Source:
        Broyden 1965, A class of methods for solving nonlinear simultaneous equations; Li, Fukushima 2000, A
        derivative-free line search and global convergence of Broyden-like method for nonlinear equations.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.Root(lambda x: jnp.array([x[0] ** 2 + x[1] ** 2 - 4, x[0] - x[1]]))
        >>> x = fr.solve(problem, jnp.array([1.0, 2.0]), Broyden(), tol=1e-5).x
        >>> [round(float(v), 3) for v in x]
        [1.414, 1.414]
    """

    accepts: ClassVar[type] = Root
    check_every: ClassVar[int] = 1

    def init(self, problem: Root, x0: PyTree[Array], *, key: PRNGKeyArray) -> BroydenState:
        x, unravel = ravel_pytree(x0)
        F = lambda v: _value(problem, unravel(v))  # noqa: E731
        value, push = jax.linearize(F, x)
        identity = jnp.eye(x.size, dtype=x.dtype)
        inverse = jnp.linalg.inv(jax.vmap(push, out_axes=1)(identity))
        # A singular Jacobian is no reason to stop: the corrections start from the identity then.
        inverse = jnp.where(jnp.all(jnp.isfinite(inverse)), inverse, identity)
        calls = Calls().add(value=1, hvp=x.size, factorisation=1)
        return BroydenState(x0, calls, value, inverse, jnp.zeros((), jnp.int32))

    def step(self, problem: Root, state: BroydenState, *, key: PRNGKeyArray) -> BroydenState:
        x = ravel_pytree(state.x)[0]
        H, old = state.inverse, state.value
        d = -(H @ old)
        slack = 1 / (1.0 + state.count).astype(x.dtype) ** 2
        _, (ahead, value), n = trial_loop(
            _trial, _decreased, jnp.ones((), x.dtype), problem, state.x, d, tree.norm(old), slack
        )
        s, y = ravel_pytree(ahead)[0] - x, value - old
        Hy = H @ y
        denominator = s @ Hy
        sound = jnp.abs(denominator) > 1e-4 * (s @ s)
        change = jnp.outer(s - Hy, s @ H) / jnp.where(sound, denominator, 1)
        inverse = H + jnp.where(sound, change, 0)
        return BroydenState(ahead, state.calls.add(value=n), value, inverse, state.count + 1)


def _value(problem: Root, x: PyTree[Array]) -> Float[Array, " n"]:
    return ravel_pytree(problem.optimality(x))[0]


def _trial(length: Scalar, problem: Root, x: PyTree, d: Array, *_: Any) -> tuple:
    flat, unravel = ravel_pytree(x)
    ahead = unravel(flat + length * d)
    return ahead, _value(problem, ahead)


def _decreased(
    length: Scalar, trial: tuple, problem: Root, x: PyTree, d: Array, norm: Scalar, slack: Scalar
) -> Bool[Array, ""]:
    return tree.norm(trial[1]) <= (1 + slack) * norm - 1e-4 * (length * tree.norm(d)) ** 2
