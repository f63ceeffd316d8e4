"""A page a system, from ``systems.toml`` and its claims; the fast ones run here, and have to hold."""

import logging
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

from frechet.workbench import catalogue, claims
from frechet.workbench.claims.evidence import show

_log = logging.getLogger("mkdocs.hooks.catalogue")


def on_files(files: Files, *, config: Any, **_: Any) -> Files:
    """Adds the pages and lists them in the navigation, by family."""
    section = next(item["Systems"] for item in config.nav if "Systems" in item)
    lines = [
        "# Systems",
        "",
        "Every published method in the library, with what it promises as code that can fail. The fast claims "
        "were run when this site was built; `frechet verify NAME` runs all of them on your machine.",
        "",
    ]
    families: dict[str, list[catalogue.System]] = {}
    failing: list[str] = []
    for system in catalogue.systems().values():
        families.setdefault(system.family, []).append(system)
    for family, members in families.items():
        lines += [f"## {family.capitalize()}", "", "| system | what it is | paper |", "| --- | --- | --- |"]
        lines += [
            f"| [{s.id}]({s.id}.md) | {s.name} | [{s.paper}]({s.address}) ({s.year}) |" for s in members
        ]
        lines.append("")
        for system in members:
            name = f"catalogue/{system.id}.md"
            files.append(File.generated(config, name, content=_page(system, failing)))
            section.append({system.name: name})
    if failing:
        raise PluginError(f"claims that do not hold: {', '.join(failing)}")
    files.append(File.generated(config, "catalogue/index.md", content="\n".join(lines)))
    return files


def _page(system: catalogue.System, failing: list[str]) -> str:
    lines = [f"# {system.name}", "", system.summary, ""]
    lines += [f"[{system.citation}]({system.address}).", ""]
    lines += ["## What it assumes", "", *(f"- {a}" for a in system.assumptions), ""]
    lines += ["## Where it is", "", *(f"- `{name}`" for name in system.implements), ""]
    lines += ["## What it claims", ""]
    lines += ["| | claim | claimed | measured |", "| --- | --- | --- | --- |"]
    tables = []
    for claim in claims.claims(system.id):
        if not claim.fast:
            lines.append(f"| – | {_cell(claim.statement)} | | run `frechet verify {system.id}` |")
            continue
        verdict = claim.check()
        if not verdict.holds:
            failing.append(claim.name)
            _log.error("%s does not hold: %s", claim.name, verdict.reason or verdict.evidence)
        evidence = verdict.evidence
        sides = (evidence.claimed_text, evidence.measured_text) if evidence else ("", verdict.reason)
        note = f"<br><small>{_cell(evidence.note)}</small>" if evidence and evidence.note else ""
        mark = "✓" if verdict.holds else "✗"
        lines.append(f"| {mark} | {_cell(claim.statement)}{note} | {_cell(sides[0])} | {_cell(sides[1])} |")
        if evidence and evidence.rows:
            tables += ["", f"### {claim.statement}", "", *_table(evidence.rows)]
    lines += [*tables, "", "## To cite", "", "```bibtex", system.cite(), "```", ""]
    return "\n".join(lines)


def _table(rows: Any) -> list[str]:
    columns = list(rows[0])
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(_cell(show(row.get(c, ""))) for c in columns) + " |" for row in rows]
    return lines


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
