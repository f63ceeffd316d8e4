"""Signals taken from the pictures that come with scikit-image."""

import numpy as np

from frechet.workbench.data.frozen import loaded_once


@loaded_once
def camera_row() -> np.ndarray:
    """One row through the cameraman and his tripod: a real signal with jumps.

    Returns:
        signal: shape (512,), grey values of row 256 of the picture, divided by 255, so in [0, 1].

    Source: "camera" as bundled with scikit-image, photograph by L. van der Maaten (CC0).
    """
    import skimage.data

    return skimage.data.camera()[256] / 255.0
