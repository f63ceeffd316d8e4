"""The gallery: every script in ``examples/`` is run during the build and becomes a page with a picture.

A script is in percent format: its docstring is title and opening, ``# %%`` begins a piece, the comment lines
after it are prose, and the figure that is open at the end is the picture.
"""

import ast
import multiprocessing
import os
import runpy
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

_EXAMPLES = Path(__file__).parents[2] / "examples"
# Examples are processes forked from one that has these: importing them takes as long as many an example.
_PRELOADED = ["matplotlib.pyplot", "jax", "optax", "sklearn.datasets", "frechet.solvers", "frechet.problems"]


def on_files(files: Files, *, config: Any, **_: Any) -> Files:
    """Runs the examples, adds their pages and lists them in the navigation."""
    section = next(item["Gallery"] for item in config.nav if "Gallery" in item)
    cards = []
    scripts = sorted(_EXAMPLES.glob("*.py"))
    os.environ["MPLBACKEND"] = "agg"
    multiprocessing.get_context("forkserver").set_forkserver_preload(_PRELOADED)
    with ThreadPoolExecutor(2) as pool:
        ran = list(pool.map(_run, scripts))
    for script, (printed, picture) in zip(scripts, ran, strict=True):
        title, page = _page(script, printed)
        name = f"gallery/{script.stem}"
        files.append(File.generated(config, f"{name}.md", content=page))
        files.append(File.generated(config, f"{name}.png", content=picture))
        section.append({title: f"{name}.md"})
        cards.append(f"- [![{title}]({script.stem}.png){{ loading=lazy }}<br>{title}]({script.stem}.md)")
    index = ["# Gallery", "", '<div class="gallery" markdown>', ""]
    index += [card.removeprefix("- ") + "\n" for card in cards]
    index += ["</div>", ""]
    files.append(File.generated(config, "gallery/index.md", content="\n".join(index)))
    return files


def _run(script: Path) -> tuple[str, bytes]:
    processes = multiprocessing.get_context("forkserver")
    with tempfile.TemporaryDirectory() as folder:
        picture, printed = Path(folder) / "picture.png", Path(folder) / "printed.txt"
        given = {"script": str(script), "picture": str(picture), "printed": str(printed)}
        runner = str(Path(__file__).with_name("example.py"))
        process = processes.Process(target=runpy.run_path, args=(runner,), kwargs={"init_globals": given})
        process.start()
        process.join(600)
        words = printed.read_text(encoding="utf-8") if printed.exists() else ""
        if process.exitcode != 0:
            process.kill()
            raise PluginError(f"{script.name} failed:\n{words}")
        return words, picture.read_bytes()


def _page(script: Path, printed: str) -> tuple[str, str]:
    source = script.read_text(encoding="utf-8")
    module = ast.parse(source)
    title, _, opening = (ast.get_docstring(module) or script.stem).partition("\n")
    title = title.rstrip(".")
    lines = [f"# {title}", "", opening.strip(), "", f"![{title}]({script.stem}.png)", ""]
    body = "\n".join(source.splitlines()[module.body[0].end_lineno :])
    for piece in body.split("# %%"):
        said, code = _split(piece)
        lines += [said, ""] if said else []
        lines += ["```python", code, "```", ""] if code else []
    if printed.strip():
        lines += ["It prints", "", "```text", printed.rstrip(), "```", ""]
    lines += [f"The whole story is `examples/{script.name}`.", ""]
    return title, "\n".join(lines)


def _split(piece: str) -> tuple[str, str]:
    """The comment lines a piece begins with, as prose, and its code."""
    lines = piece.strip("\n").splitlines()
    said = []
    while lines and lines[0].startswith("#"):
        said.append(lines.pop(0).removeprefix("#").removeprefix(" "))
    return "\n".join(said), "\n".join(lines).strip("\n")
