"""Broyden's good method with a derivative-free line search."""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.equations import Root
from frechet.solvers.trial_loop import trial_loop


class FullInverse(eqx.Module):
    """An approximate inverse of the Jacobian, dense."""

    matrix: Float[Array, "n n"]

    def times(self, v: Float[Array, " n"]) -> Float[Array, " n"]:
        """$H v$."""
        return self.matrix @ v

    def transposed_times(self, v: Float[Array, " n"]) -> Float[Array, " n"]:
        r"""$H^\top v$."""
        return self.matrix.T @ v

    def plus(self, c: Float[Array, " n"], d: Float[Array, " n"], count: Int[Array, ""]) -> "FullInverse":
        r"""$H + c\,d^\top$; ``count`` says the how manieth change it is, from 0."""
        return FullInverse(self.matrix + jnp.outer(c, d))


class LimitedInverse(eqx.Module):
    r"""$\gamma I + \sum_j c_j d_j^\top$ with the newest changes alone, one a row of ``c`` and ``d``."""

    scale: Scalar
    c: Float[Array, "history n"]
    d: Float[Array, "history n"]

    def times(self, v: Float[Array, " n"]) -> Float[Array, " n"]:
        """$H v$."""
        return self.scale * v + (self.d @ v) @ self.c

    def transposed_times(self, v: Float[Array, " n"]) -> Float[Array, " n"]:
        r"""$H^\top v$."""
        return self.scale * v + (self.c @ v) @ self.d

    def plus(self, c: Float[Array, " n"], d: Float[Array, " n"], count: Int[Array, ""]) -> "LimitedInverse":
        """With one more change, in the place of the oldest."""
        slot = count % self.c.shape[0]
        return LimitedInverse(self.scale, self.c.at[slot].set(c), self.d.at[slot].set(d))


class BroydenState(State):
    r"""``value`` is $F(x)$, ``inverse`` the approximate inverse of its Jacobian, ``count`` the steps taken.

    ``length`` is the last $t$, ``failed`` whether no length tried was short enough, ``weight`` is $\sigma$.
    """

    value: Float[Array, " n"]
    inverse: FullInverse | LimitedInverse
    count: Int[Array, ""]
    length: Scalar
    failed: Bool[Array, ""]
    weight: Scalar


class Broyden(Solver):
    r"""Newton's method with a Jacobian that is computed once and then corrected by each step, for roots.

    With $s = x_{k+1} - x_k$ and $y = F(x_{k+1}) - F(x_k)$ the inverse $H$ of the approximate Jacobian changes
    by

    $$H_{k+1} = H_k + \frac{(s - H_k y)\, s^\top H_k}{s^\top H_k y},$$

    the least change that makes $H_{k+1} y = s$; it is left out where the denominator is too small. The step
    $-t H_k F(x_k)$ is shortened until
    $\|F(x_{k+1})\| \le (1 + \eta_k)\|F(x_k)\| - \sigma\|s\|^2$ with summable $\eta_k$, which asks for no
    derivatives; $\sigma = 10^{-4}\,\|F(x_0)\| / \|H_0 F(x_0)\|^2$, in the units of the equation. Convergence
    is superlinear near a root with a regular Jacobian. The start costs a value, a Jacobian (as many products
    as unknowns) and a factorisation, a step one value for every length tried. The inverse is kept dense; with
    a ``history`` it is not, nor is a Jacobian ever computed.

    Args:
        history: how many changes are kept, the newest ones, of an inverse that starts as a multiple of the
            identity, for many unknowns; None for a dense inverse that starts as that of the Jacobian.
        scale: that multiple; of the sign of the Jacobian where it has one, so negative for
            $F(x) = T(x) - x$ with a contraction $T$.
        step_size: the length $t$ of all steps, or a function of the step's number from 0; None for the
            search.

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
    history: int | None = eqx.field(default=None, static=True)
    scale: float | Array = 1.0
    step_size: float | Array | Callable[[Int[Array, ""]], Scalar] | None = None

    def __check_init__(self):
        if self.history is not None and self.history < 1:
            raise ValueError(f"history must be at least 1 or None, got {self.history}")

    def init(self, problem: Root, x0: PyTree[Array], *, key: PRNGKeyArray) -> BroydenState:
        x, unravel = ravel_pytree(x0)
        F = lambda v: _value(problem, unravel(v))  # noqa: E731
        calls = Calls().add(value=1)
        if self.history is None:
            value, push = jax.linearize(F, x)
            identity = jnp.eye(x.size, dtype=x.dtype)
            matrix = jnp.linalg.inv(jax.vmap(push, out_axes=1)(identity))
            # A singular Jacobian is no reason to stop: the corrections start from the identity then.
            inverse = FullInverse(jnp.where(jnp.all(jnp.isfinite(matrix)), matrix, identity))
            calls = calls.add(hvp=x.size, factorisation=1)
        else:
            value, empty = F(x), jnp.zeros((self.history, x.size), x.dtype)
            inverse = LimitedInverse(jnp.asarray(self.scale, x.dtype), empty, empty)
        value_0, square = jax.lax.stop_gradient((value, jnp.sum(inverse.times(value) ** 2)))
        return BroydenState(
            x=x0,
            calls=calls,
            value=value,
            inverse=inverse,
            count=jnp.zeros((), jnp.int32),
            length=jnp.ones((), x.dtype),
            failed=jnp.asarray(False),
            weight=1e-4 * tree.norm(value_0) / jnp.where(square > 0, square, 1),
        )

    def step(self, problem: Root, state: BroydenState, *, key: PRNGKeyArray) -> BroydenState:
        x = ravel_pytree(state.x)[0]
        H, old = state.inverse, state.value
        d = -H.times(old)
        if self.step_size is None:
            slack = 1 / (1.0 + state.count).astype(x.dtype) ** 2
            search = (problem, state.x, d, tree.norm(old), slack, state.weight)
            one, like = jnp.ones((), x.dtype), (state.x, old)
            length, trial, n = trial_loop(_trial, _decreased, one, *search, like=like)
            failed = ~_decreased(length, trial, *search)
        else:
            length = self.step_size(state.count) if callable(self.step_size) else self.step_size
            length, n, failed = jnp.asarray(length, x.dtype), 1, jnp.asarray(False)
            trial = _trial(length, problem, state.x, d)
        ahead, value = trial
        s, y = ravel_pytree(ahead)[0] - x, value - old
        Hy = H.times(y)
        denominator = s @ Hy
        sound = jnp.abs(denominator) > 1e-4 * tree.norm(s) * tree.norm(Hy)
        change = jnp.where(sound, (s - Hy) / jnp.where(sound, denominator, 1), 0)
        inverse = H.plus(change, H.transposed_times(s), state.count)
        calls = state.calls.add(value=n)
        count = state.count + 1
        return BroydenState(ahead, calls, value, inverse, count, length, failed, state.weight)


def _value(problem: Root, x: PyTree[Array]) -> Float[Array, " n"]:
    return ravel_pytree(problem.optimality(x))[0]


def _trial(length: Scalar, problem: Root, x: PyTree, d: Array, *_: Any) -> tuple:
    flat, unravel = ravel_pytree(x)
    ahead = unravel(flat + length * d)
    return ahead, _value(problem, ahead)


def _decreased(
    length: Scalar,
    trial: tuple,
    problem: Root,
    x: PyTree,
    d: Array,
    norm: Scalar,
    slack: Scalar,
    weight: Scalar,
) -> Bool[Array, ""]:
    return tree.norm(trial[1]) <= (1 + slack) * norm - weight * (length * tree.norm(d)) ** 2
