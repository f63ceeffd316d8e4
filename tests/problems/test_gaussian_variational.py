"""Gaussian variational inference: expectations by integrals and identities, the prox by its definition."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.sparse import BCOO
from scipy import integrate, stats

import frechet as fr
from frechet.problems import GeneralisedLinear, gauss_hermite, quasi_monte_carlo
from frechet.problems.gaussian_expectations import Nodes


def posterior(weight=None) -> tuple[GeneralisedLinear, Any, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(6, 2)), np.array([0, 1, 1, 0, 1, 1])
    loss = fr.losses.Logistic(jnp.asarray(X), jnp.asarray(y), sample_weight=weight)
    q = fr.Gaussian(jnp.array([0.3, -0.8]), jnp.array([[0.9, 0.3], [0.3, 0.5]]))
    return GeneralisedLinear(loss, jnp.array([0.5, 2.0])), q, X, y


def test_expectation_of_a_generalised_linear_model_is_the_integral():
    with jax.enable_x64(True):
        weight = np.linspace(0.5, 1.5, 6)
        V, q, X, y = posterior(weight)
        found = jax.jit(lambda q: V.expectation(q))(q)
        m, S = (np.asarray(v) for v in q)
        prior = 0.5 * np.sum([0.5, 2.0] * (m**2 + np.diag(S)))

        def row(x, label):
            law: Any = stats.norm(x @ m, np.sqrt(x @ S @ x))
            return integrate.quad(lambda z: law.pdf(z) * np.logaddexp(0, (1 - 2 * label) * z), -12, 12)[0]

        expected = prior + sum(w * row(x, label) for w, x, label in zip(weight, X, y, strict=True))
        np.testing.assert_allclose(found.value, expected, rtol=1e-8)


def identities(expectation, q):
    """Bonnet's and Price's theorems: derivatives in mean and covariance are means of derivatives."""
    slopes = jax.grad(lambda q: expectation(q).value)(q)
    return slopes.mean, slopes.covariance + slopes.covariance.T


def test_expectations_of_derivatives_are_derivatives_of_the_expectation():
    with jax.enable_x64(True):
        V, q, _, _ = posterior()
        (gradient, hessian), found = jax.jit(lambda q: (identities(V.expectation, q), V.expectation(q)))(q)
        np.testing.assert_allclose(found.gradient, gradient, rtol=1e-9)
        np.testing.assert_allclose(found.hessian, hessian, rtol=1e-6)
        # The same potential by nodes of the plane, of which it makes no use itself.
        problem = fr.GaussianVariational(lambda theta: V(theta), gauss_hermite(2, 30))
        by_nodes = jax.jit(lambda q: problem.expectation(q))(q)
        for a, b in zip(by_nodes, found, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)


def test_draws_are_unbiased_with_and_without_hessians():
    V, q, _, _ = posterior()
    problem, n = fr.GaussianVariational(V), 20_000
    noise = jax.random.normal(jax.random.key(0), (n, 1, 2))
    exact = jax.jit(lambda q: problem.expectation(q))(q)
    for estimate in (problem.sampled_expectation, problem.expectation_from_gradients):
        drawn = jax.jit(jax.vmap(lambda z, estimate=estimate: estimate(q, z)))(noise)
        for values, mean in zip(drawn, exact, strict=True):
            error = 4.5 * np.std(values, axis=0) / n**0.5 + 1e-5
            assert np.all(np.abs(np.mean(values, axis=0) - mean) < error)


def test_prox_is_the_proximal_map_of_minus_the_entropy():
    """Its stationarity: the optimal map from the new covariance back to the old one is I - s S^-1."""
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    problem = fr.GaussianVariational(lambda theta: jnp.sum(theta**2))
    with jax.enable_x64(True):
        for spectrum in ([0.1, 0.5, 1.0, 3.0], [0.0, 0.0, 1.0, 2.0]):
            S = Q @ np.diag(spectrum) @ Q.T
            new = np.asarray(problem.prox(fr.Gaussian(jnp.ones(4), jnp.asarray(S)), 0.3).covariance)
            back = np.eye(4) - 0.3 * np.linalg.inv(new)
            np.testing.assert_allclose(back @ new @ back, S, atol=1e-12)
            assert np.linalg.eigvalsh(back)[0] > -1e-7  # a map of transport is monotone


def test_nodes_integrate_polynomials_and_converge():
    with jax.enable_x64(True):
        product = gauss_hermite(3, 4)
        z = product.points
        np.testing.assert_allclose(product.weights @ (z[:, 0] ** 6 * z[:, 1] ** 2), 15, rtol=1e-10)
        exact, errors = np.exp(0.5 * 0.4**2 * 6), []
        for count in (64, 1024):
            z = quasi_monte_carlo(6, count).points
            np.testing.assert_allclose(z.T @ z / count, np.eye(6), atol=1e-12)
            errors.append(abs(float(jnp.mean(jnp.exp(0.4 * jnp.sum(z, axis=1)))) / exact - 1))
        assert errors[1] < 0.02 and errors[1] < errors[0]


def test_antisymmetric_parts_of_the_covariance_do_not_matter():
    problem = fr.GaussianVariational(posterior()[0])
    q = posterior()[1]
    skew = jnp.array([[0.0, 0.1], [-0.1, 0.0]])
    other = fr.Gaussian(q.mean, q.covariance + skew)
    np.testing.assert_allclose(problem.objective(other), problem.objective(q), rtol=1e-6)
    apart = problem.optimality(other).covariance - problem.optimality(q).covariance
    np.testing.assert_allclose(apart, skew, atol=1e-5)


V = lambda theta: jnp.sum(theta**2)  # noqa: E731
SOLVE = lambda x0, V=V: fr.solve(fr.GaussianVariational(V), x0)  # noqa: E731
WRONG = {
    "a covariance that is not positive": (lambda: SOLVE((jnp.ones(2), -jnp.eye(2))), "positive definite"),
    "a covariance that is not symmetric": (
        lambda: SOLVE((jnp.ones(2), jnp.array([[1.0, 0.5], [0.0, 1.0]]))),
        "symmetric",
    ),
    "shapes that disagree": (lambda: SOLVE((jnp.ones(2), jnp.eye(3))), r"\(d,\) and \(d, d\)"),
    "three parts": (lambda: SOLVE((jnp.ones(2), jnp.eye(2), jnp.eye(2))), "a pair"),
    "a potential of vectors": (lambda: SOLVE(jnp.ones(2), lambda theta: theta), "a scalar"),
    "no potential": (lambda: fr.GaussianVariational(1.0), "must be callable"),  # pyright: ignore
    "nodes of another dimension": (
        lambda: fr.GaussianVariational(V, gauss_hermite(3, 2)).objective(
            fr.Gaussian(jnp.ones(2), jnp.eye(2))
        ),
        "nodes",
    ),
    "weights that are too few": (lambda: Nodes(jnp.ones((3, 2)), jnp.ones(2)), "weights"),
    "an odd number of nodes": (lambda: quasi_monte_carlo(2, 33), "even"),
    "a sparse design": (
        lambda: GeneralisedLinear(fr.losses.Squared(BCOO.fromdense(jnp.eye(2)), jnp.ones(2))),
        "dense",
    ),
    "no loss": (lambda: GeneralisedLinear(V), "loss"),  # pyright: ignore
    "a precision below zero": (lambda: GeneralisedLinear(posterior()[0].loss, -1.0), "precision"),
}


@pytest.mark.parametrize("what", WRONG)
def test_an_error_names_what_is_wrong(what):
    make, words = WRONG[what]
    with pytest.raises((TypeError, ValueError), match=words) as caught:
        make()
    assert "\n" not in str(caught.value)
