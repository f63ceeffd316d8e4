r"""Turns LaTeX into MathML while the site is built, so that pages need no script and no network to show it.

``pymdownx.arithmatex`` marks the mathematics of pages and docstrings; browsers draw MathML themselves.
"""

import html
import logging
import re
from typing import Any

from latex2mathml.converter import convert

_MARKED = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\s*\\[(\[](?P<tex>.*?)\\[)\]]\s*</(?P=tag)>', re.DOTALL
)
_log = logging.getLogger("mkdocs.hooks.mathml")


def on_page_content(content: str, *, page: Any, **_: Any) -> str:
    """Replaces every marked formula."""

    def mathml(found: re.Match[str]) -> str:
        tex = html.unescape(found["tex"]).strip()
        # \bigl and \bigr only size a delimiter, which MathML stretches by itself.
        tex = re.sub(r"\\[bB]ig+[lr]?(?![a-zA-Z])", "", tex)
        tex = re.sub(r"\\arg(?![a-zA-Z])", r"\\operatorname{arg}", tex)
        try:
            made = convert(tex, display="block" if found["tag"] == "div" else "inline")
        except Exception as error:
            _log.warning("%s: %s does not read as LaTeX: %r", page.file.src_uri, tex, error)
            return found[0]
        if "\\" in re.sub(r"<annotation.*?</annotation>", "", made):
            _log.warning("%s: a command in %s is not known", page.file.src_uri, tex)
        return made

    return _MARKED.sub(mathml, content)
