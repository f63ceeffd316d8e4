"""The protocol of a solver: a way of getting to where the optimality map is zero."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, PyTree, Scalar

from frechet.core.calls import Calls
from frechet.core.problem import Problem
from frechet.core.status import Ending


class State(eqx.Module):
    """What a solver carries from step to step; every solver extends it.

    Attributes:
        x: the iterate, a pytree of arrays.
        calls: the oracles used so far.
    """

    x: PyTree[Array]
    calls: Calls


class Solver(eqx.Module):
    """``init`` makes a state, ``step`` improves it; stopping and differentiation are not its business.

    Array and float fields are hyperparameters and may change without recompilation; anything that
    changes the program is a static field.

    Attributes:
        accepts: the kind of problem it solves.
        needs: oracles of the problem (keys of ``problem.offers()``) that it cannot do without.
        stochastic: whether ``step`` uses its key. Sampling noise is not taken for a stall.
        check_every: steps between residual checks.
        converges: whether it reaches a solution from anywhere on a convex problem with its default
            settings. A constant-step stochastic method, say, does not, and is compared but not tested for it.
    """

    accepts: ClassVar[type[Problem]] = Problem
    needs: ClassVar[frozenset[str]] = frozenset()
    stochastic: ClassVar[bool] = False
    converges: ClassVar[bool] = True
    check_every: ClassVar[int] = 10

    def init(self, problem: Problem, x0: PyTree[Array], *, key: PRNGKeyArray) -> State:
        """The state before the first step."""
        raise NotImplementedError

    def step(self, problem: Problem, state: State, *, key: PRNGKeyArray) -> State:
        """One step; pure, of fixed shapes, and without host round trips."""
        raise NotImplementedError

    def diagnosis(self, problem: Problem, state: State) -> Int[Array, ""]:
        """What the solver can prove and the residual cannot: an `Ending` such as infeasible, else running.

        Asked at every residual check; a residual within the tolerance overrules it.
        """
        return jnp.asarray(Ending.RUNNING, jnp.int32)

    def objective(self, problem: Problem, state: State) -> Scalar:
        """``problem.objective(state.x)``; where the state knows it, without evaluating it again."""
        return problem.objective(state.x)

    @classmethod
    def presets(cls) -> dict[str, "Solver"]:
        """Ready-made instances by name, which `compare`, `list` and the conformance checks use."""
        return {cls.__name__: cls()}

    def fits(self, problem: Problem) -> str | None:
        """None if it can solve the problem, else the reason why not, in words."""
        if not isinstance(problem, self.accepts):
            return f"takes a {self.accepts.__name__}, not a {problem.kind}"
        lacking = sorted(self.needs - problem.offers().keys())
        if lacking:
            return f"needs {', '.join(lacking)}, which this {problem.kind} does not offer"
        return None
