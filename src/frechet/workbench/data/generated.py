"""Seeded generators, for sizes that no bundled data set has."""

import numpy as np


def sparse_regression(
    samples: int, features: int, *, nonzeros: int, correlation: float = 0.0, noise: float = 0.1, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""A Gaussian design with neighbouring columns correlated, and targets from a few of them.

    $y = X w + \sigma \|X w\| \varepsilon / \|\varepsilon\|$, where the rows of X have
    covariance $\rho^{|i - j|}$ and `nonzeros` entries of w are 1 or -1.

    Args:
        samples: rows of X.
        features: columns of X.
        nonzeros: how many entries of w are not zero.
        correlation: $\rho$, of neighbouring columns, in [0, 1).
        noise: $\sigma$, the norm of the noise over that of the signal.
        seed: of NumPy's default generator.

    Returns:
        X: shape (samples, features).
        y: shape (samples,).
        w: shape (features,), the coefficients behind the targets.

    Example:
        >>> X, y, w = sparse_regression(20, 50, nonzeros=3)
        >>> X.shape, y.shape, int((w != 0).sum())
        ((20, 50), (20,), 3)
    """
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(samples, features))
    # an autoregressive process along the columns has just that covariance
    for j in range(1, features):
        X[:, j] = correlation * X[:, j - 1] + np.sqrt(1 - correlation**2) * X[:, j]
    w = np.zeros(features)
    w[rng.choice(features, nonzeros, replace=False)] = rng.choice([-1.0, 1.0], nonzeros)
    signal, error = X @ w, rng.normal(size=samples)
    return X, signal + noise * np.linalg.norm(signal) * error / np.linalg.norm(error), w
