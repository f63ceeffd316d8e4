"""Two-timescale extragradient and the curvatures that decide on minimax points."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import frechet as fr
from frechet.derivatives import minimax_curvature
from frechet.solvers.saddle.extragradient import Extragradient
from frechet.solvers.saddle.two_timescale_extragradient import TwoTimescaleExtragradient
from frechet.workbench.claims.iterates import states


def test_ratio_one_is_extragradient_and_another_scales_one_player():
    rng = np.random.default_rng(0)
    A, s, ratio = rng.normal(size=(2, 3)), 0.2, 5.0
    x, y = np.full(2, 0.7), np.full(3, -0.4)
    with jax.enable_x64(True):
        sets = fr.convex.Box(-1.0, 0.8), fr.convex.L1(0.1)
        problem = fr.Saddle(lambda x, y: x @ jnp.asarray(A) @ y - 0.5 * x @ x, *sets)
        solvers = (
            Extragradient(step_size=s),
            TwoTimescaleExtragradient(step_size=s, ratio=1.0),
            TwoTimescaleExtragradient(step_size=s, ratio=ratio),
        )
        plain, same, scaled = (states(problem, v, (jnp.asarray(x), jnp.asarray(y)), 20).x for v in solvers)
    for a, b in zip(plain, same, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)

    def ahead(x, y, at):
        gx, gy = A @ at[1] - at[0], -A.T @ at[0]
        v = y - s * gy
        return np.clip(x - s / ratio * gx, -1.0, 0.8), np.sign(v) * np.maximum(np.abs(v) - 0.1 * s, 0)

    for _ in range(20):
        x, y = ahead(x, y, ahead(x, y, (x, y)))
    np.testing.assert_allclose(scaled.minimiser[-1], x, atol=1e-12)
    np.testing.assert_allclose(scaled.maximiser[-1], y, atol=1e-12)


def restricted(A, B, C):
    """The restricted Schur complement's least eigenvalue as the paper defines it, by SciPy's null spaces."""
    values, vectors = np.linalg.eigh(B)
    kernel = np.abs(values) < 1e-10
    V, W = vectors[:, ~kernel], vectors[:, kernel]
    S = A - C @ V @ np.diag(1 / values[~kernel]) @ V.T @ C.T
    U = scipy.linalg.null_space((C @ W).T) if kernel.any() else np.eye(len(A))
    return np.linalg.eigvalsh(U.T @ S @ U)[0] if U.size else np.inf


@pytest.mark.parametrize("kernel", [0, 1, 2, 4])
def test_curvatures_of_quadratics(kernel):
    rng = np.random.default_rng(kernel)
    Q = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    values = np.concatenate([np.zeros(kernel), -rng.uniform(1, 2, size=5 - kernel)])
    A, B, C = rng.normal(size=(4, 4)), Q @ np.diag(values) @ Q.T, rng.normal(size=(4, 5))
    A = A + A.T
    f = lambda x, y: 0.5 * x["u"] @ A @ x["u"] + x["u"] @ C @ y + 0.5 * y @ B @ y  # noqa: E731
    with jax.enable_x64(True):
        got = jax.jit(lambda x, y: minimax_curvature(f, {"u": x}, y))(jnp.ones(4), jnp.ones(5))
        np.testing.assert_allclose(got.maximiser, values.max(), atol=1e-12)
        np.testing.assert_allclose(got.minimiser, restricted(A, B, C), atol=1e-7)
