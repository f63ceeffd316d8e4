"""The page: a template, a stylesheet and a script in one file that needs no network.

The script draws the curves as SVG itself. A charting library would be a hundred times larger than the
rest of the page, slow to open on a phone, and would not label curves at their ends or follow the
colour scheme without drawing again.
"""

import json
from importlib import resources

from frechet.workbench.comparing.profile import show_target
from frechet.workbench.comparing.report.payload import conditions, fairness, payload
from frechet.workbench.comparing.result import Comparison, show_height


def page(comparison: Comparison) -> str:
    """The report as one HTML document."""
    from jinja2 import Environment, StrictUndefined

    files = resources.files("frechet.workbench.comparing.report")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string((files / "page.html.jinja").read_text("utf-8"))
    return template.render(
        comparison=comparison,
        plan=comparison.plan,
        conditions=conditions(comparison),
        fairness=fairness(comparison),
        skipped=_skipped(comparison),
        trained_only=not any(p.testable for p in comparison.plan.problems),
        tuned={t.spec.problem for t in comparison.trials if "learning_rate" in t.spec.settings},
        show_height=show_height,
        show_target=show_target,
        style=(files / "page.css").read_text("utf-8"),
        script=(files / "page.js").read_text("utf-8"),
        data=_embedded(payload(comparison)),
    )


def _embedded(data: object) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _skipped(comparison: Comparison) -> list[tuple[str, str, list[str]]]:
    """Solver, reason and problems; one line for a reason that holds on several problems."""
    found: dict[tuple[str, str], list[str]] = {}
    for s in comparison.plan.skipped:
        found.setdefault((s.solver, s.reason), []).append(s.problem)
    return [(solver, reason, problems) for (solver, reason), problems in found.items()]
