"""What goes wrong for a reason the person at the keyboard can mend."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in what was asked for; its message, one line, says what is wrong and what would be right."""

    def __init__(self, message: str):
        super().__init__(" ".join(str(message).split()))


def nearest(name: str, known: Iterable[str], *, shown: int = 8) -> str:
    """Words that end an error about an unknown name: the nearest known one, or the known ones.

    Example:
        >>> nearest("laso", ["lasso", "ridge"])
        'did you mean lasso?'
        >>> nearest("xyz", ["lasso", "ridge"])
        'known are lasso, ridge'
    """
    known = sorted(known)
    folded = {k.casefold(): k for k in known}
    close = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    if close:
        return f"did you mean {folded[close[0]]}?"
    if not known:
        return "none is known"
    more = f" and {len(known) - shown} more" if len(known) > shown else ""
    return f"known are {', '.join(known[:shown])}{more}"
