"""The tables that come with scikit-learn."""

import numpy as np

from frechet.workbench.data.frozen import loaded_once


def standardised(X: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and population standard deviation 1; columns that never vary are dropped."""
    X = np.asarray(X, np.float64)
    X = X[:, X.min(axis=0) < X.max(axis=0)]
    return (X - X.mean(axis=0)) / X.std(axis=0)


@loaded_once
def breast_cancer() -> tuple[np.ndarray, np.ndarray]:
    """Wisconsin diagnostic breast cancer: 569 tumours, 30 standardised features.

    Returns:
        X: shape (569, 30), standardised.
        y: shape (569,), 1 for benign and 0 for malignant.

    Source: W. N. Street, W. H. Wolberg, O. L. Mangasarian, "Nuclear feature extraction for breast tumor
        diagnosis", 1993; as bundled with scikit-learn.
    """
    from sklearn.datasets import load_breast_cancer

    X, y = (np.asarray(array) for array in load_breast_cancer(return_X_y=True))
    return standardised(X), y.astype(np.int64)


@loaded_once
def diabetes() -> tuple[np.ndarray, np.ndarray]:
    """Progression of diabetes in 442 patients from 10 measurements.

    Returns:
        X: shape (442, 10), standardised.
        y: shape (442,), standardised progression after a year.

    Source: B. Efron, T. Hastie, I. Johnstone, R. Tibshirani, "Least angle regression", 2004; as bundled with
        scikit-learn.
    """
    from sklearn.datasets import load_diabetes

    X, y = (np.asarray(array) for array in load_diabetes(return_X_y=True))
    return standardised(X), (y - y.mean()) / y.std()


@loaded_once
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Handwritten digits: 1,797 pictures of 8 x 8 pixels.

    Returns:
        X: shape (1797, 64), grey values divided by 16, so in [0, 1]; not standardised.
        y: shape (1797,), the digit.

    Source: E. Alpaydin, C. Kaynak, "Optical recognition of handwritten digits", 1998; as bundled with
        scikit-learn.
    """
    from sklearn.datasets import load_digits

    X, y = (np.asarray(array) for array in load_digits(return_X_y=True))
    return X / 16, y.astype(np.int64)


@loaded_once
def wine() -> tuple[np.ndarray, np.ndarray]:
    """Chemical analysis of 178 wines from 3 cultivars.

    Returns:
        X: shape (178, 13), standardised.
        y: shape (178,), the cultivar 0, 1 or 2.

    Source: S. Aeberhard, M. Forina, "Wine", 1992; as bundled with scikit-learn.
    """
    from sklearn.datasets import load_wine

    X, y = (np.asarray(array) for array in load_wine(return_X_y=True))
    return standardised(X), y.astype(np.int64)
