"""The Python on every page of the documentation runs as written, from top to bottom, in JAX's precision."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_its_python_runs(page: Path):
    text = page.read_text(encoding="utf-8")
    names = {"__name__": page.stem}
    for found in BLOCK.finditer(text):
        line = text[: found.start(1)].count("\n")
        exec(compile("\n" * line + found[1], str(page), "exec"), names)  # errors name the page's own line


def test_there_is_something_to_run():
    assert sum(bool(BLOCK.search(page.read_text(encoding="utf-8"))) for page in PAGES) >= 6
