"""Two certified data sets of nonlinear regression from the Statistical Reference Datasets (public domain)."""

import numpy as np

from frechet.workbench.data.frozen import loaded_once


@loaded_once
def misra1a() -> tuple[np.ndarray, np.ndarray]:
    """Dental research on monomolecular adsorption: 14 observations.

    Returns:
        x: shape (14,), pressure.
        y: shape (14,), volume.

    Source: D. Misra, 1978, in National Institute of Standards and Technology, "Statistical Reference
        Datasets: Misra1a".
    """
    x = [77.6, 114.9, 141.1, 190.8, 239.9, 289.0, 332.8, 378.4, 434.8, 477.3, 536.8, 593.1, 689.1, 760.0]
    y = [10.07, 14.73, 17.94, 23.93, 29.61, 35.18, 40.02, 44.82, 50.76, 55.05, 61.01, 66.40, 75.47, 81.78]
    return np.array(x), np.array(y)


@loaded_once
def thurber() -> tuple[np.ndarray, np.ndarray]:
    """Semiconductor electron mobility: 37 observations.

    Returns:
        x: shape (37,), natural logarithm of the density.
        y: shape (37,), electron mobility.

    Source: R. Thurber, 1979, in National Institute of Standards and Technology, "Statistical Reference
        Datasets: Thurber".
    """
    x = [
        -3.067, -2.981, -2.921, -2.912, -2.840, -2.797, -2.702, -2.699, -2.633, -2.481, -2.363, -2.322,
        -1.501, -1.460, -1.274, -1.212, -1.100, -1.046, -0.915, -0.714, -0.566, -0.545, -0.400, -0.309,
        -0.109, -0.103, 0.010, 0.119, 0.377, 0.790, 0.963, 1.006, 1.115, 1.572, 1.841, 2.047, 2.200,
    ]  # fmt: skip
    y = [
        80.574, 84.248, 87.264, 87.195, 89.076, 89.608, 89.868, 90.101, 92.405, 95.854, 100.696, 101.060,
        401.672, 390.724, 567.534, 635.316, 733.054, 759.087, 894.206, 990.785, 1090.109, 1080.914, 1122.643,
        1178.351, 1260.531, 1273.514, 1288.339, 1327.543, 1353.863, 1414.509, 1425.208, 1421.384, 1442.962,
        1464.350, 1468.705, 1447.894, 1457.628,
    ]  # fmt: skip
    return np.array(x), np.array(y)
