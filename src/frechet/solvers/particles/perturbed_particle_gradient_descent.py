"""Particle gradient descent with noise, for functionals that are Lipschitz in the particles."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, PyTree, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems import leading_axis
from frechet.problems.particles import Particles
from frechet.solvers.stochastic.proximal_sgd import Constant, InverseSqrt, StronglyConvex


class PerturbedParticlesState(State):
    """``x`` is the best iterate so far, of objective ``best``; ``particles`` is where the method is."""

    best: Scalar
    particles: PyTree[Array]
    gradient: PyTree[Array]
    updates: Int[Array, ""]


class PerturbedParticleGradientDescent(Solver):
    r"""Moves each particle against its velocity plus a little noise, and returns the best iterate.

    $$w_i \leftarrow w_i - \gamma_k\Bigl(n\,\frac{\partial F}{\partial w_i}
        + \frac{\nu\,\xi_i}{\sqrt n}\Bigr), \qquad \xi_i \text{ uniform in the unit ball}$$

    The noise separates particles that coincide, where a functional such as an energy distance has a kink and
    its subgradient moves all of them alike. For displacement convex functionals with velocities of norm at
    most $L$ and $\nu = 1$, the best of $m$ iterates has a gap of at most
    $(W_2^2(w_0, w^\star) + L^2 + 1)/(2\sqrt m)$ with $\gamma_k = 1/\sqrt m$, in expectation, and with modulus
    $\lambda$ of at most $2(L^2 + 1)/(\lambda(m + 1))$ with $\gamma_k = 2/(\lambda(k+1))$.

    A subgradient method does not descend in every step, so ``x`` is the best of all iterates and not the
    last, which the state keeps as ``particles``. A step costs one value and one gradient.

    Args:
        schedule: step sizes: `Constant` for a fixed horizon, `InverseSqrt` or `StronglyConvex`.
        noise: $\nu$. The paper adds $\xi_i/\sqrt n$ to partial derivatives, which is $\nu = n$ here with step
            sizes $1/n$ of those.

    Source:
        Daneshmand, Lee, Jin 2023, Efficient displacement convex optimization with particle gradient descent,
        ICML, arXiv 2302.04753.

    Example:
        Three particles at one point spread out, towards the cells' midpoints of a uniform law:

        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.Particles(fr.problems.EnergyDistance(fr.problems.UniformLaw(0.0, 1.0)))
        >>> solver = PerturbedParticleGradientDescent(noise=0.1)
        >>> found = fr.solve(problem, jnp.full(3, 0.4), solver, max_steps=2000).x
        >>> bool(jnp.allclose(jnp.sort(found), jnp.array([1.0, 3.0, 5.0]) / 6, atol=0.01))
        True
    """

    accepts: ClassVar[type] = Particles
    stochastic: ClassVar[bool] = True
    converges: ClassVar[bool] = False
    schedule: Constant | StronglyConvex = eqx.field(default_factory=lambda: InverseSqrt(0.5))
    noise: float = 1.0

    def __check_init__(self):
        if getattr(self.schedule, "step_size", None) is None:
            raise TypeError(
                f"schedule must be one of those of ProximalSGD with a step size, got {self.schedule!r}"
            )

    def init(self, problem: Particles, x0: PyTree[Array], *, key: PRNGKeyArray) -> PerturbedParticlesState:
        value, gradient = problem.value_and_gradient(x0)
        calls = Calls().add(value=1, gradient=1)
        return PerturbedParticlesState(x0, calls, value, x0, gradient, jnp.zeros((), int))

    def step(
        self, problem: Particles, state: PerturbedParticlesState, *, key: PRNGKeyArray
    ) -> PerturbedParticlesState:
        n = leading_axis.length(state.x)
        t = (state.updates + 1).astype(state.best.dtype)
        size = self.schedule.size(jnp.asarray(self.schedule.step_size, t.dtype), t)
        moved = tree.axpy(-size * n, state.gradient, state.particles)
        moved = tree.axpy(-size * self.noise / n**0.5, in_ball(key, state.x), moved)
        value, gradient = problem.value_and_gradient(moved)
        better = value < state.best
        x, best = tree.where(better, (moved, value), (state.x, state.best))
        calls = state.calls.add(value=1, gradient=1)
        return PerturbedParticlesState(x, calls, best, moved, gradient, state.updates + 1)

    def objective(self, problem: Particles, state: PerturbedParticlesState) -> Scalar:
        return state.best


def in_ball(key: PRNGKeyArray, x: PyTree[Array]) -> PyTree[Array]:
    """For each particle a point drawn uniformly from the unit ball, in the form of ``x``."""
    leaves, structure = jax.tree.flatten(x)
    n, sizes = leaves[0].shape[0], [v[0].size for v in leaves]
    # A uniform point of a sphere without two of its coordinates: jax.random.ball takes seconds to compile.
    sphere = jax.random.normal(key, (n, sum(sizes) + 2), jnp.result_type(*leaves))
    drawn = (sphere / jnp.linalg.norm(sphere, axis=1, keepdims=True))[:, 2:]
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)]
    parts = jnp.split(drawn, ends, axis=1)
    return structure.unflatten(p.reshape(v.shape).astype(v.dtype) for p, v in zip(parts, leaves, strict=True))
