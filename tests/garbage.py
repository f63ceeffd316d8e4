"""Python's garbage collector, told what programs under test are like."""

import gc


def collect_rarely() -> None:
    """Leaves what is loaded out of collections, and makes whole ones rare.

    Tracing makes millions of small objects that live long: going through them again and again takes a
    fifteenth of all time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
