"""What solvers share: finding them, fitting them to problems, and the trial loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import frechet as fr
from frechet.solvers.proximal.fista import FISTA
from frechet.solvers.registry import all_presets, solver_classes
from frechet.solvers.trial_loop import trial_loop


def test_solvers_are_found_and_named_once():
    names = [c.__name__ for c in solver_classes()]
    assert "FISTA" in names and len(set(names)) == len(names)
    assert not any(n.startswith("_") for n in names)
    presets = all_presets()
    assert {type(s) for s in presets.values()} == set(solver_classes())
    assert fr.solvers.FISTA is FISTA and "FISTA" in dir(fr.solvers)


def test_an_unknown_solver_lists_those_there_are():
    with pytest.raises(AttributeError, match="no solver is called Fista; known are"):
        _ = fr.solvers.Fista


def test_a_solver_says_why_it_does_not_fit():
    smooth_only = fr.solvers.NewtonCG()
    penalised = fr.Composite(jnp.sum, fr.convex.L1(0.1))
    assert smooth_only.fits(penalised) == "needs smooth, which this Composite does not offer"
    assert smooth_only.fits(fr.Root(jnp.sin)) == "takes a Composite, not a Root"
    assert smooth_only.fits(fr.Composite(jnp.sum)) is None


def halving(target):
    make = lambda s, x: x - s * x  # noqa: E731
    return trial_loop(
        make, lambda s, trial, x: jnp.abs(trial) <= target * jnp.abs(x), jnp.asarray(8.0), jnp.ones(())
    )


def test_trials_are_counted_and_the_scalar_is_the_accepted_one(precision):
    scalar, trial, n = halving(0.1)
    assert (float(scalar), float(trial), int(n)) == (1.0, 0.0, 4)


def test_a_nan_trial_is_a_rejected_one():
    make = lambda s, x: jnp.where(s > 2, jnp.nan, s * x)  # noqa: E731
    scalar, trial, n = trial_loop(make, lambda s, t, x: t > 0, jnp.asarray(16.0), jnp.ones(()))
    assert (float(scalar), float(trial), int(n)) == (2.0, 2.0, 4)


def test_trials_are_bounded():
    never = lambda s, t, x: jnp.asarray(False)  # noqa: E731
    assert int(trial_loop(lambda s, x: s * x, never, jnp.asarray(1.0), jnp.ones(()), max_trials=7)[2]) == 7


def test_derivatives_go_through_the_trial_at_a_constant_scalar():
    accept = lambda s, t, x: t >= 0  # noqa: E731

    def through(x):
        return trial_loop(lambda s, x: x - s * x**2, accept, jnp.asarray(4.0), x)[1]

    # At x = 0.7 the trial 0.7 - s 0.49 is accepted at s = 1, where its derivative is 1 - 2 s x.
    for rule in (jax.grad, jax.jacfwd):
        np.testing.assert_allclose(rule(through)(0.7), 1 - 2 * 0.7, rtol=1e-6)
