"""One problem from many starts."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from frechet.core.problem import Problem
from frechet.core.solve import Solution, solve
from frechet.core.solver import Solver


class Multistart(eqx.Module):
    """What `multistart` returns.

    Attributes:
        best: the best solution.
        index: which start led to it.
        members: all solutions, with a leading axis; ``members.status`` has a status a start.
    """

    best: Solution
    index: Int[Array, ""]
    members: Solution


def multistart(
    problem: Problem,
    starts: PyTree[Array],
    solver: Solver | None = None,
    *,
    key: PRNGKeyArray | None = None,
    compact: bool = True,
    **options: Any,
) -> Multistart:
    """Solves a problem from many starts at once and picks the best solution.

    The best is the one of lowest objective among those that converged. If none did, it is the one of lowest
    objective or, where constraints are met in the limit only, of smallest residual; its status says so.
    Derivatives are those of the best member.

    Args:
        problem: what to solve.
        starts: starts, stacked along a leading axis of every leaf.
        solver: how; the kind's default when left out.
        key: random key; every member has its own.
        compact: as in `solve`: members that need long do not keep the others at work.
        **options: further arguments of `solve`, the same for all.

    Returns:
        The best `Solution`, its index and all of them.

    Raises:
        ValueError: the leaves of ``starts`` do not share a leading axis.
        TypeError: as `solve`.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.Composite(lambda x: jnp.sum(x**4 - 2 * x**2 + 0.3 * x))
        >>> found = fr.multistart(problem, jnp.linspace(-2, 2, 5)[:, None], tol=1e-4)
        >>> found.best.x.round(2).tolist(), int(found.members.status.converged.sum())
        ([-1.03999...], 5)
    """
    sizes = {jnp.shape(v)[:1] for v in jax.tree.leaves(starts)}
    if len(sizes) != 1 or sizes in ({()}, {(0,)}):
        raise ValueError(
            f"starts are stacked along a leading axis of every leaf, at least one; leading axes are {sizes}"
        )
    keys = jax.random.split(jax.random.key(0) if key is None else key, sizes.pop())

    def member(x0: PyTree[Array], key: PRNGKeyArray) -> tuple:
        solution = solve(problem, x0, solver, key=key, compact=compact, **options)
        return solution, problem.objective(solution.x)

    # What the host did is the same for all; it has no axis.
    stats: list = []

    def arrays(x0: PyTree[Array], key: PRNGKeyArray) -> tuple:
        solution, objective = member(x0, key)
        stats[:] = [solution.stats]
        return eqx.tree_at(lambda s: s.stats, solution, None), objective

    members, objectives = jax.vmap(arrays)(starts, keys)
    members = eqx.tree_at(lambda s: s.stats, members, stats[0], is_leaf=lambda v: v is None)
    index = _best(problem, members, objectives)
    best = jax.tree.map(lambda v: v[index] if isinstance(v, jax.Array) else v, members)
    return Multistart(best, index, members)


def _best(problem: Problem, members: Solution, objectives: Array) -> Array:
    converged = members.status.converged
    fallback = objectives if problem.always_feasible else members.residual
    score = jnp.where(jnp.any(converged), jnp.where(converged, objectives, jnp.inf), fallback)
    return jnp.argmin(jnp.where(jnp.isnan(score), jnp.inf, score))
