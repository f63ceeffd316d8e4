"""An API page a room of the library, made from the modules that are there."""

import ast
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

_SOURCE = Path(__file__).parents[2] / "src" / "frechet"
# Rooms whose public names people import; what is public in the others is reached from here.
_ROOMS = (
    "core",
    "problems",
    "convex",
    "losses",
    "transport",
    "derivatives",
    "metrics",
    "models",
    "solvers",
    "optimizers",
    "interop",
    "compat",
    "workbench",
)


def on_files(files: Files, *, config: Any, **_: Any) -> Files:
    """Adds a page a room and lists it in the navigation."""
    section = next(item["API"] for item in config.nav if "API" in item)
    lines = ["# API", ""]
    for room in _ROOMS:
        page = [f"# frechet.{room}", "", _docstring(_SOURCE / room / "__init__.py"), ""]
        for path in sorted((_SOURCE / room).rglob("*.py")):
            if path.name.startswith("__") or not _public(path):
                continue
            dotted = ".".join(("frechet", *path.relative_to(_SOURCE).with_suffix("").parts))
            page += [f"## {dotted.removeprefix(f'frechet.{room}.')}", "", f"::: {dotted}", ""]
            page += ["    options:", "      show_root_heading: false", "      show_root_toc_entry: false", ""]
        name = f"api/{room}.md"
        files.append(File.generated(config, name, content="\n".join(page)))
        section.append({f"frechet.{room}": name})
        summary = _docstring(_SOURCE / room / "__init__.py").splitlines()[0]
        lines.append(f"- [`frechet.{room}`]({room}.md): {summary}")
    files.append(File.generated(config, "api/index.md", content="\n".join(lines)))
    return files


def _docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def _public(path: Path) -> bool:
    """Whether the module defines a public class or function."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return any(isinstance(n, ast.ClassDef | ast.FunctionDef) and not n.name.startswith("_") for n in body)
