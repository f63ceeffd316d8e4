"""Reads ``systems.toml`` and says in one line what is wrong with it, if anything is."""

import functools
import pkgutil
import re
import tomllib
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from frechet.workbench.errors import UserError, nearest

CATALOGUE = Path(__file__).with_name("systems.toml")
_ID = r"[a-z0-9]+(-[a-z0-9]+)*"
_FORMS = {
    "arxiv": (r"(\d{4}\.\d{4,5}|[a-z-]+(\.[A-Z]{2})?/\d{7})", "an arXiv identifier such as 2105.15183"),
    "doi": (r"10\.\d{4,9}/\S+", "a DOI such as 10.1137/080716542"),
    "entry": (r"article|inproceedings|book|misc|phdthesis|techreport", "a BibTeX entry type such as article"),
}


@dataclass(frozen=True)
class System:
    """A published method: its paper, what implements it, and what it assumes.

    Attributes:
        id: its name on the command line and in claims, lower case with hyphens.
        name: what people call it.
        paper: the paper's title.
        authors: of the paper, ``"First Last"`` each.
        year: of publication.
        family: what the docs group it under.
        implements: dotted names of the code that is this system.
        summary: what it does, in a sentence or two.
        assumptions: what it takes for its promises to hold, one each.
        arxiv: the arXiv identifier; this or ``doi`` or both are there.
        doi: the digital object identifier.
        entry: BibTeX entry type.
        bibtex: further BibTeX fields, such as ``booktitle`` or ``pages``.
    """

    id: str
    name: str
    paper: str
    authors: tuple[str, ...]
    year: int
    family: str
    implements: tuple[str, ...]
    summary: str
    assumptions: tuple[str, ...]
    arxiv: str = ""
    doi: str = ""
    entry: str = "misc"
    bibtex: dict[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Where the paper is."""
        return f"https://arxiv.org/abs/{self.arxiv}" if self.arxiv else f"https://doi.org/{self.doi}"

    @property
    def citation(self) -> str:
        """The paper on one line."""
        shown = list(self.authors) if len(self.authors) <= 3 else [self.authors[0], "others"]
        names = " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))
        return f"{names} ({self.year}), {self.paper}"

    def cite(self) -> str:
        """The paper as a BibTeX entry."""
        surname = re.sub(r"\W", "", self.authors[0].split()[-1]).lower()
        word = next((w for w in re.findall(r"\w+", self.paper.lower()) if len(w) > 3), self.id)
        cited = {
            "title": f"{{{self.paper}}}",
            "author": " and ".join(self.authors),
            "year": str(self.year),
            **self.bibtex,
        }
        if self.arxiv:
            cited |= {"eprint": self.arxiv, "archiveprefix": "arXiv"}
        if self.doi:
            cited["doi"] = self.doi
        body = ",\n".join(f"  {k} = {{{v}}}" for k, v in cited.items())
        return f"@{self.entry}{{{surname}{self.year}{word},\n{body},\n}}"

    def code(self) -> dict[str, Any]:
        """The objects that implement it, by dotted name.

        Raises:
            UserError: a name leads nowhere.
        """
        found = {}
        for name in self.implements:
            try:
                found[name] = pkgutil.resolve_name(name)
            except (ImportError, AttributeError) as error:
                raise UserError(
                    f"systems.toml: [{self.id}] implements {name}, which is not there: {error}"
                ) from None
        return found


_KEYS = {f.name: f for f in fields(System) if f.name != "id"}
_REQUIRED = [k for k, f in _KEYS.items() if f.default is MISSING and f.default_factory is MISSING]


def read(path: Path = CATALOGUE) -> dict[str, System]:
    """The catalogue as data.

    Args:
        path: a TOML file with a table a system, named by its id.

    Returns:
        Systems by id, in the file's order.

    Raises:
        UserError: the file is not there, is not TOML, or an entry is not as it should be.

    Example:
        >>> read()["implicit-diff"].year
        2022
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path.name} is not TOML: {error}") from None
    return {id: _system(path.name, id, table) for id, table in tables.items()}


def _system(file: str, id: str, table: Any) -> System:
    def fail(what: str) -> UserError:
        return UserError(f"{file}: [{id}] {what}")

    if not isinstance(table, dict):
        raise UserError(f"{file}: {id} = {table!r} stands outside a table; every system is a [table]")
    if not re.fullmatch(_ID, id):
        raise fail("should be lower case letters and digits with hyphens between them")
    unknown = next((k for k in table if k not in _KEYS), None)
    if unknown is not None:
        raise fail(f"has an unknown key {unknown!r}; {nearest(unknown, _KEYS, shown=len(_KEYS))}")
    lacking = next((k for k in _REQUIRED if k not in table), None)
    if lacking is not None:
        raise fail(f"lacks {lacking!r}")
    for key, value in table.items():
        wrong = _wrong(key, value)
        if wrong:
            raise fail(f"{key} is {value!r}; it should be {wrong}")
    if not table.get("arxiv") and not table.get("doi"):
        raise fail("lacks an arxiv or doi")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}
    return System(id=id, **values)


def _wrong(key: str, value: Any) -> str | None:
    """What the value should have been, or None if it is right."""
    if key == "year":
        right, form = type(value) is int and 1600 <= value <= 2100, "a year such as 2022"
    elif key in ("authors", "implements", "assumptions"):
        right, form = isinstance(value, list) and all(map(_text, value)), "a list of texts"
        right = right and bool(value or key == "assumptions")
        if key == "implements" and right:
            form = "a list of dotted names such as frechet.solvers.FISTA"
            right = all(all(part.isidentifier() for part in v.split(".")) for v in value)
    elif key == "bibtex":
        right = isinstance(value, dict) and all(map(_text, value.values()))
        form = "a table of texts"
    elif key in _FORMS:
        pattern, form = _FORMS[key]
        right = isinstance(value, str) and re.fullmatch(pattern, value) is not None
    else:
        right, form = _text(value), "a text"
    return None if right else form


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


@functools.cache
def systems() -> dict[str, System]:
    """Every system of the catalogue, by id."""
    return read()


def system(id: str) -> System:
    """A system by id.

    Raises:
        UserError: there is none; the message suggests the nearest.
    """
    known = systems()
    if id not in known:
        raise UserError(f"no system is called {id!r}; {nearest(id, known)}")
    return known[id]
