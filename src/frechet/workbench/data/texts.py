"""A real text that comes with Python."""

import numpy as np

from frechet.workbench.data.frozen import loaded_once

ALPHABET = "\n" + "".join(map(chr, range(32, 127)))


@loaded_once
def python_reference() -> np.ndarray:
    """The topics of Python's interactive help, in alphabetical order, as characters.

    A few sentences differ between versions of Python; length and alphabet do not.

    Returns:
        text: shape (400000,), places in `ALPHABET`, of a line feed and the 95 printable characters of ASCII;
            all others stand as "?".

    Source: Python Software Foundation, "The Python Language Reference"; as bundled with Python for
        ``help()``.
    """
    from pydoc_data.topics import topics

    place = {c: i for i, c in enumerate(ALPHABET)}
    text = "".join(topics[name] for name in sorted(topics))[:400_000]
    return np.array([place.get(c, place["?"]) for c in text], np.int64)
