"""The page, the figure and the table say what the comparison found."""

import io
import json
import re

import numpy as np
import pytest

from frechet.workbench.comparing.record import Record
from frechet.workbench.comparing.report.figure import figure
from frechet.workbench.comparing.report.markdown import markdown
from frechet.workbench.comparing.report.page import page
from frechet.workbench.comparing.report.payload import payload
from frechet.workbench.comparing.table import ranked

from .conftest import RATES, make_comparison, make_training_comparison


@pytest.fixture
def comparison(tmp_path):
    return make_comparison(tmp_path)


def test_page_is_whole_and_alone(comparison):
    text = page(comparison)
    assert text.startswith("<!doctype html>") and text.rstrip().endswith("</html>")
    assert not re.findall(r"(?:src|href)\s*=\s*[\"'](?!data:|#)", text), "nothing is loaded from elsewhere"
    assert not re.findall(r"@import|url\(|fetch\(|XMLHttpRequest", text)
    for words in ("What fast is.", "a paper", "takes a Root, not a Composite", "the best run", "one worker"):
        assert words in text
    assert "frechet compare problem0" in text and "2030-01-01" in text
    assert "<b>not markup</b>" not in text and "&lt;b&gt;not markup" in text


def test_page_carries_the_numbers(comparison):
    text = page(comparison)
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])
    assert data == json.loads(json.dumps(payload(comparison)))
    names = [s["name"] for s in data["solvers"]]
    assert sorted(names, key=lambda n: data["solvers"][names.index(n)]["place"]) == ["fast", "steady", "slow"]
    curve = data["curves"][0][names.index("fast")][0]
    np.testing.assert_allclose(curve["gap"][:5], RATES["fast"] ** (2 * np.arange(5.0)), rtol=1e-4)
    assert curve["calls_prox"][:3] == [0, 11, 24] and "calls_value" not in curve
    score = data["scores"][0][0]
    assert score["costs"][names.index("fast")][0] == pytest.approx(0.132)
    assert score["costs"][names.index("slow")][0] is None
    assert [names[r["solver"]] for r in score["ranking"]] == ["fast", "steady", "slow"]
    assert [s["tried"] for s in data["solvers"]] == [2, 2, 2]
    assert data["ends"][0][names.index("slow")]["status"] == "budget 2/3, failed 1/3"


def test_long_traces_are_thinned_to_their_shape(tmp_path):
    from .conftest import make_record

    comparison = make_comparison(tmp_path, problems=1, seeds=1)
    comparison.records[0] = make_record(comparison.records[0].spec, rate=0.9999, checks=100_000)
    (curve,) = payload(comparison)["curves"][0][0]
    assert 100 <= len(curve["step"]) <= 240
    assert curve["step"][0] == 0 and curve["step"][-1] == 999_990
    assert all(np.diff(curve["step"]) > 0)


def test_markdown_ranks(comparison):
    text = markdown(comparison)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert [r.split("|")[2].strip() for r in rows[2:5]] == ["fast", "steady", "slow"]
    fast = next(r for r in rows if r.startswith("| fast"))
    # 120 steps to the tolerance (0.3**12), 120 gradients, 264 prox.
    assert [c.strip() for c in fast.split("|")[2:6]] == ["132 ms", "120", "120", "264"]
    widths = {r.count("|") for r in rows[5:10]}
    assert len(widths) == 1
    assert "    frechet compare problem0" in text


def test_figure_is_a_picture_with_a_panel_a_problem(comparison):
    from matplotlib.image import imread

    picture = imread(io.BytesIO(figure(comparison)))
    assert picture.shape[0] > 300 and picture.shape[1] > 1200
    for third in np.array_split(picture[..., :3], 3, axis=1):
        # Colour, that is curves, in every panel: the fast solver's blue.
        blue = np.abs(third - np.array([0, 0x72, 0xB2]) / 255).max(axis=-1) < 0.05
        assert blue.sum() > 50


def test_terminal_table(comparison):
    from rich.console import Console

    console = Console(file=io.StringIO(), width=120)
    console.print(ranked(comparison))
    lines = console.file.getvalue().splitlines()
    assert [line.split()[1] for line in lines[2:]] == ["fast", "steady", "slow"]
    assert "132 ms" in lines[2] and "0/2" in lines[4]


@pytest.fixture
def trained(tmp_path):
    return make_training_comparison(tmp_path)


def test_training_is_told_in_words(trained):
    assert trained.sentence() == (
        "good was the fastest to a target accuracy ≥ 0.9, in 231 ms; "
        "1 of 3 solvers got there within the budget."
    )
    text = markdown(trained)
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|")}
    cells = [c.strip() for c in rows["good"].split("|")[1:-1]]
    # The seeds are there after 220, 210 and 200 steps of 1, 1.1 and 1.2 ms; medians of each. The state is
    # two averages of 1000 parameters and a counter.
    assert [cells[i] for i in (0, 1, 2, 4, 5, 6)] == ["good", "231 ms", "210", "2x", "1.1 ms (1x)", "1/4"]
    assert cells[3].startswith("0.95") and cells[7] == "learning_rate=0.01, b1=0.9"
    assert "not tuned" in rows["fixed"] and "| – |" in rows["fixed"]
    for words in (
        "by 4 trials",
        "have seed 1000",
        "seeds 0 to 2",
        "with the settings on their cards: fixed.",
    ):
        assert words in text
    assert "residual" not in text.replace("Training has no residual", "")


def test_training_on_the_page(trained):
    text = page(trained)
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])
    assert [h["key"] for h in data["heights"]][:1] == ["measure_accuracy"]
    good = [s["name"] for s in data["solvers"]].index("good")
    trials = data["trials"][0][good]
    assert [t["rate"] for t in trials] == [1e-3, 1e-4, 1e-2, 1e-1] and trials[3]["value"] is None
    assert [t["chosen"] for t in trials] == [False, False, True, False]
    end = data["ends"][0][good]
    assert end["met"] and (end["trained"]["tried"], end["trained"]["diverged"]) == (4, 1)
    assert end["trained"]["state"] == 2.0 and end["trained"]["step"] == 1
    assert "gap" not in data["curves"][0][good][0]
    assert "Sensitivity to the learning rate" in text and "0.0001 to 0.1, log-uniform" in text
    assert "Reference optimum" not in text and "have seed 1000" in text


def test_training_beside_a_solvable_problem(tmp_path):
    mixed = make_training_comparison(tmp_path, mixed=True)
    assert mixed.goals[0].label == "residual ≤ 1e-6 or target accuracy ≥ 0.9"
    names = [mixed.plan.solvers[r.solver].name for r in mixed.ranking()]
    assert set(names[:3]) == {"fast", "good", "steady"} and names.index("fair") < names.index("fixed")
    text = page(mixed)
    assert "Reference optimum" in text and "Target: <b>accuracy ≥ 0.9</b>" in text
    assert "the same map for every solver" in text.replace("same  map", "same map")
    assert "## net" in markdown(mixed) and "final residual" in markdown(mixed)
    assert len(figure(mixed)) > 10_000


def test_training_in_the_terminal(trained):
    from rich.console import Console

    console = Console(file=io.StringIO(), width=160)
    console.print(ranked(trained))
    lines = console.file.getvalue().splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["good", "fair", "fixed"]
    assert "210" in lines[2] and "learning_rate=0.01" in lines[2] and "not tuned" in lines[4]


def test_training_that_came_to_nothing_is_told(trained):
    """Every run of one solver failed, and of another all that is there are trials."""
    for i, record in enumerate(trained.records):
        if record.spec.solver == "fixed":
            trained.records[i] = Record.failure(record.spec, "no such layer")
    trained.records = [r for r in trained.records if r.spec.solver != "fair"]
    text = page(trained)
    assert "no such layer" in text and "Stopped early: 3 of 17 runs are missing" in text
    rows = {line.split("|")[1].strip(): line for line in markdown(trained).splitlines() if line[:1] == "|"}
    assert rows["fixed"].count("–") >= 4
    trained.records = []
    for made in (page, markdown, figure, ranked):
        assert made(trained)
