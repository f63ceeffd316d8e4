"""A user's file: small problems and solvers of their own, which comparisons in the tests run."""

import os
import signal
import time
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

import frechet as fr


class Descent(fr.Solver):
    """Proximal gradient descent with a fixed step.

    Source:
        Beck, First-Order Methods in Optimization, 2017, chapter 10
    """

    accepts: ClassVar[type[fr.Problem]] = fr.Composite
    needs: ClassVar[frozenset[str]] = frozenset({"gradient", "prox"})
    step_size: float = 0.1

    def init(self, problem, x0, *, key):
        return fr.State(x0, fr.Calls())

    def step(self, problem, state, *, key):
        forward = jax.tree.map(lambda x, g: x - self.step_size * g, state.x, problem.gradient(state.x))
        return fr.State(problem.prox(forward, self.step_size), state.calls.add(gradient=1, prox=1))

    @classmethod
    def presets(cls):
        return {"Descent": cls(), "Slow": cls(step_size=0.01)}


class Noisy(Descent):
    """Descent along a gradient with noise that dies out."""

    stochastic: ClassVar[bool] = True

    def step(self, problem, state, *, key):
        done = super().step(problem, state, key=key)
        scale = 0.05 * 0.9**state.calls.gradient
        return fr.State(done.x + scale * jax.random.normal(key, done.x.shape, done.x.dtype), done.calls)

    @classmethod
    def presets(cls):
        return {"Noisy": cls()}


class RootsOnly(Descent):
    """Takes no composite."""

    accepts: ClassVar[type[fr.Problem]] = fr.Root

    @classmethod
    def presets(cls):
        return {"RootsOnly": cls()}


class Crasher(Descent):
    """Kills the process it runs in while it is being traced."""

    def init(self, problem, x0, *, key):
        os.kill(os.getpid(), signal.SIGSEGV)

    @classmethod
    def presets(cls):
        return {"Crasher": cls()}


class Raiser(Descent):
    """Raises while it is being traced."""

    def init(self, problem, x0, *, key):
        raise RuntimeError("a factorisation that\nis not there")

    @classmethod
    def presets(cls):
        return {"Raiser": cls()}


class Sleeper(Descent):
    """Takes a while to be traced, so that a test can act in the meantime."""

    step_size: float = 0.1

    def init(self, problem, x0, *, key):
        time.sleep(float(os.environ.get("TOY_SLEEP", "0.5")))
        return super().init(problem, x0, key=key)

    @classmethod
    def presets(cls):
        return {f"Sleeper{i}": cls(step_size=0.1 - 0.01 * i) for i in range(4)}


def _lasso():
    rng = np.random.default_rng(0)
    A, b = rng.standard_normal((30, 6)), rng.standard_normal(30)
    A, b = jnp.asarray(A), jnp.asarray(b)
    return fr.Composite(lambda x: 0.5 * jnp.mean((A @ x - b) ** 2), fr.convex.L1(0.05)), jnp.zeros(6)


def lasso():
    """A small lasso."""
    return _lasso()


def ridge():
    """A small ridge regression, written as a plain function of one variable."""
    problem, x0 = _lasso()
    return fr.Composite(lambda x: problem.f(x) + 0.05 * jnp.sum(x**2)), x0


def unseeded():
    """Another problem each time."""
    scale = 1.0 + time.time_ns() % 1000
    return fr.Composite(lambda x: jnp.sum((scale * x - 1) ** 2 + scale)), jnp.zeros(2)


def not_a_problem():
    return 3


def no_start():
    return _lasso()[0]


def broken():
    raise ValueError("no data here")


def vector():
    return fr.Root(lambda x: x), jnp.zeros(2)


constant = 5
