"""Steps where it is awkward: derivatives through them, NaN trials, float32, starts outside the set."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr
from frechet.solvers.proximal.fista import FISTA
from frechet.solvers.proximal.gradient_descent import GradientDescent
from frechet.solvers.proximal.proximal_gradient import ProximalGradient
from frechet.solvers.proximal.spectral_proximal_gradient import SpectralProximalGradient

COMPOSITE = [FISTA(), FISTA(0.1), ProximalGradient(), ProximalGradient(0.1), SpectralProximalGradient()]
SMOOTH = [*COMPOSITE, GradientDescent(), GradientDescent(0.1)]


def name(solver):
    return type(solver).__name__ + ("" if getattr(solver, "step_size", None) is None else ", constant")


def regression():
    rng = np.random.default_rng(3)
    return jnp.asarray(rng.normal(size=(12, 4)) / 2), jnp.asarray(rng.normal(size=12))


@pytest.mark.parametrize("solver", COMPOSITE, ids=name)
@pytest.mark.parametrize("mode", ["unroll", "one-step"])
def test_derivatives_through_the_steps(solver, mode):
    with jax.enable_x64(True):
        X, y = regression()

        def x(weight, mode):
            f = lambda w: 0.5 * jnp.sum((X @ w - y) ** 2)  # noqa: E731
            problem = fr.Composite(f, fr.convex.L1(weight))
            return fr.solve(problem, jnp.zeros(4), solver, tol=1e-11, max_steps=600, differentiate=mode).x

        implicit = jax.jacobian(lambda w: x(w, "implicit"))(0.5)
        backward, forward = (jac(lambda w: x(w, mode))(0.5) for jac in (jax.jacrev, jax.jacfwd))
        np.testing.assert_allclose(backward, forward, rtol=1e-10, atol=1e-14)
        if mode == "unroll":
            np.testing.assert_allclose(backward, implicit, atol=1e-8)
        else:  # one step errs by the contraction factor of a step, here at most 1 - s mu with room
            error = np.linalg.norm(backward - implicit) / np.linalg.norm(implicit)
            assert 0 < error < 1


@pytest.mark.parametrize("solver", [s for s in SMOOTH if getattr(s, "step_size", None) is None], ids=name)
def test_a_trial_that_is_not_finite_is_a_step_too_long(solver, precision):
    # The logarithm is NaN for x <= 0, where the first trial lands.
    problem = fr.Composite(lambda x: jnp.sum(4 * x - jnp.log(x)))
    s = fr.solve(problem, jnp.full(3, 0.5, precision), solver)
    assert s.status.converged
    np.testing.assert_allclose(s.x, 0.25, rtol=float(10 * jnp.finfo(precision).eps ** 0.5))


@pytest.mark.parametrize("solver", COMPOSITE[::2], ids=name)
def test_a_start_outside_the_set_is_brought_back(solver, precision):
    problem = fr.Composite(lambda x: jnp.sum((x - 2.0) ** 2), fr.convex.Box(-1.0, 1.0))
    s = fr.solve(problem, jnp.array([5.0, -5.0, 0.0], precision), solver)
    assert s.status.converged
    np.testing.assert_array_equal(s.x, 1.0)


@pytest.mark.parametrize("solver", SMOOTH, ids=name)
def test_float32_ends_at_its_own_accuracy(solver):
    # A large constant in f hides the decrease near the solution; steps must not shrink to nothing for it.
    f = lambda x: 1e3 + 0.5 * jnp.sum(jnp.arange(1, 5) * (x - 1.0) ** 2)  # noqa: E731
    s = fr.solve(fr.Composite(f), jnp.zeros(4, jnp.float32), solver, max_steps=5000)
    assert s.status.converged and s.x.dtype == jnp.float32
    np.testing.assert_allclose(s.x, 1.0, atol=1e-3)


@pytest.mark.parametrize("solver", COMPOSITE, ids=name)
def test_a_batch_gives_what_its_members_give(solver, precision):
    X, y = (v.astype(precision) for v in regression())

    def x(weight):
        problem = fr.Composite(lambda w: 0.5 * jnp.sum((X @ w - y) ** 2), fr.convex.L1(weight))
        s = fr.solve(problem, jnp.zeros(4, precision), solver)
        return s.x, s.calls.gradient

    weights = jnp.array([0.05, 0.5, 5.0], precision)
    together, gradients = jax.vmap(x)(weights)
    alone = [x(w) for w in weights]
    np.testing.assert_allclose(
        together, [a for a, _ in alone], atol=float(20 * jnp.finfo(precision).eps ** 0.5)
    )
    # Every member counts its own calls, though the batch runs until the last is done.
    assert len({int(n) for n in gradients}) > 1


@pytest.mark.parametrize("solver", [FISTA, ProximalGradient, GradientDescent])
def test_a_step_size_that_is_not_positive_is_an_error(solver):
    with pytest.raises(ValueError, match="step_size must be above zero, got -1"):
        solver(-1.0)


def test_the_spectral_step_is_the_inverse_curvature_along_the_last_move():
    with jax.enable_x64(True):
        d = jnp.array([1.0, 10.0])
        problem = fr.Composite(lambda x: 0.5 * jnp.sum(d * x**2)).lifted(jnp.ones(2))
        solver, key = SpectralProximalGradient(), jax.random.key(0)
        first = solver.step(problem, solver.init(problem, jnp.ones(2), key=key), key=key)
        second = solver.step(problem, first, key=key)
        moved = first.x - 1.0
        assert float(second.step) == pytest.approx(float(moved @ moved / (moved @ (d * moved))), rel=1e-12)
