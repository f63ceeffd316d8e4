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


@loaded_once
def grey_pictures() -> np.ndarray:
    """Four pictures as histograms of their light: a shape, a micrograph and two photographs.

    Returns:
        histograms: shape (4, 32, 32), grey values of "horse", "cell", "camera" and "moon" averaged over
            blocks, plus a thousandth of their mean, of sum 1 each.

    Source: the pictures bundled with scikit-image, as in the benchmark of J. Schrieber, D. Schuhmacher,
        C. Gottschlich, "DOTmark: a benchmark for discrete optimal transport", 2017.
    """
    import skimage.data

    def blocks(picture: np.ndarray) -> np.ndarray:
        side = min(picture.shape) // 32
        top, left = ((n - 32 * side) // 2 for n in picture.shape)
        square = picture[top : top + 32 * side, left : left + 32 * side].astype(float)
        grey = square.reshape(32, side, 32, side).mean(axis=(1, 3))
        grey += grey.mean() / 1000
        return grey / grey.sum()

    pictures = 1 - skimage.data.horse(), skimage.data.cell(), skimage.data.camera(), skimage.data.moon()
    return np.stack([blocks(p) for p in pictures])


@loaded_once
def photographs() -> tuple[np.ndarray, np.ndarray]:
    """A temple in China by day, and a flower against a dark ground: two photographs in colour.

    Returns:
        china: shape (427, 640, 3), red, green and blue in [0, 1].
        flower: likewise.

    Source: photographs by Daniel Buechele and vultilion (CC BY), as bundled with scikit-learn.
    """
    from sklearn.datasets import load_sample_images

    china, flower = (np.asarray(v) / 255.0 for v in load_sample_images().images)
    return china, flower
