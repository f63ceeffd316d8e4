"""The report in a real browser: it draws, switches axes, stays offline, logs nothing, fits a phone."""

import functools
import http.server
import itertools
import threading

import pytest
from playwright.sync_api import sync_playwright

from frechet.workbench.comparing.report.page import page as make_page
from tests.workbench.comparing.conftest import make_comparison, make_training_comparison

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The report served from this machine, so that any request of the page would be seen."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "report.html").write_text(make_page(make_comparison(folder)), encoding="utf-8")
    handler = functools.partial(_Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/report.html"
    server.shutdown()
    server.server_close()
    thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass


@pytest.fixture
def opened(browser, address):
    """Opens the report at a width and colour scheme; afterwards nothing may have been requested or logged."""
    watched = []

    def open_report(viewport=DESKTOP, scheme="light", touch=False):
        context = browser.new_context(viewport=viewport, color_scheme=scheme, has_touch=touch)
        page = context.new_page()
        requests, logged = [], []
        page.on("request", lambda r: requests.append(r.url))
        page.on("console", lambda m: logged.append(m.text))
        page.on("pageerror", lambda e: logged.append(str(e)))
        page.goto(address)
        watched.append((context, requests, logged))
        return page

    yield open_report
    for context, requests, logged in watched:
        assert requests == [address], "the page asked for nothing but itself"
        assert logged == []
        context.close()


def curves(page, panel=0):
    """What is drawn in a panel: the path of every solver's line."""
    paths = page.locator(f'[data-panel="{panel}"] path.line')
    return {p.get_attribute("data-solver"): p.get_attribute("d") for p in paths.all()}


def choose(page, group, value):
    page.locator(f'#{group} [data-value="{value}"]').click()


def test_draws_every_panel_and_the_profile(opened):
    page = opened()
    for panel in (0, 1):
        drawn = curves(page, panel)
        assert len(drawn) == 3 and all(len(d) > 100 for d in drawn.values())
        box = page.locator(f'[data-panel="{panel}"] svg').bounding_box()
        assert box["width"] > 300 and box["height"] > 200
    # Solvers that solved something are in the profile; the slow one did not.
    assert page.locator("#profile path.line").count() == 2
    assert page.locator("#overall tbody tr").count() == 3
    assert page.locator("[data-result] tbody tr").count() == 6
    assert page.locator('[data-panel="0"] path.band').count() == 3


def test_a_line_is_where_its_numbers_are(opened):
    """The fast solver's gap falls by the same factor every step, which is a straight line."""
    page = opened()
    choose(page, "across", "step")
    choose(page, "scale", "linear")
    solver = page.evaluate(
        "JSON.parse(document.getElementById('data').textContent).solvers.findIndex(s => s.name === 'fast')"
    )
    points = [tuple(map(float, p.split())) for p in curves(page)[str(solver)][1:].split("L")]
    (x0, y0), (x1, y1) = points[0], points[10]
    for x, y in points[1:14]:
        assert y == pytest.approx(y0 + (y1 - y0) * (x - x0) / (x1 - x0), abs=0.3)
    assert x1 > x0 and y1 > y0 + 20


@pytest.mark.parametrize(
    ("group", "values"),
    [
        ("up", ["residual", "objective", "gap"]),
        ("across", ["step", "calls_prox", "seconds"]),
        ("scale", ["linear", "log"]),
    ],
)
def test_switches_axes(opened, group, values):
    page = opened()
    seen = [curves(page)]
    for value in values:
        choose(page, group, value)
        assert page.locator(f'#{group} [aria-pressed="true"]').get_attribute("data-value") == value
        seen.append(curves(page))
    assert all(a != b for a, b in itertools.pairwise(seen)), "the lines move"
    assert seen[-1] == seen[0], "and come back"


def test_goal_and_measure_change_ranking_and_profile(opened):
    page = opened()
    cells = page.locator("#overall tbody tr").first.locator("td")
    before = cells.all_inner_texts()
    profile = page.locator("#profile path.line").first.get_attribute("d")
    page.select_option("#measure", label="prox calls")
    assert cells.all_inner_texts() != before and "264" in cells.all_inner_texts()
    page.select_option("#goal", label="residual ≤ 1e-2")
    assert "56" in cells.all_inner_texts()
    assert page.locator("#profile path.line").first.get_attribute("d") != profile


def test_solvers_hide_and_tables_sort(opened):
    page = opened()
    page.locator("#chips button", has_text="steady").click()
    assert len(curves(page)) == 2
    page.locator("#chips button", has_text="steady").click()
    assert len(curves(page)) == 3
    first = page.locator('[data-result="0"] tbody tr td:first-child')
    assert first.all_inner_texts() == ["fast", "steady", "slow"]
    head = page.locator('[data-result="0"] th', has_text="Solver")
    head.click()
    assert first.all_inner_texts() == ["fast", "slow", "steady"]
    head.click()
    assert first.all_inner_texts() == ["steady", "slow", "fast"]
    assert head.get_attribute("aria-sort") == "descending"


def test_pointing_reads_values(opened):
    page = opened()
    plot = page.locator('[data-panel="0"] svg')
    box = plot.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tip = page.locator('[data-panel="0"] .tip')
    assert tip.is_visible() and "after" in tip.inner_text() and "fast" in tip.inner_text()
    page.mouse.move(5, 5)
    assert not tip.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fits_a_phone(opened, scheme):
    page = opened(PHONE, scheme, touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert len(curves(page)) == 3
    box = page.locator('[data-panel="0"] svg').bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"] and box["height"] >= 200
    small = page.evaluate(
        "Math.min(...[...document.querySelectorAll('p, td, th, dd, button')]"
        ".map(e => parseFloat(getComputedStyle(e).fontSize)))"
    )
    assert small >= 12


def luminance(colour):
    channels = [int(c) / 255 for c in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_scheme_and_can_be_read(opened, scheme):
    """Text at WCAG's 4.5, lines at its 3 for graphics."""
    page = opened(scheme=scheme)
    style = "([selector, property]) => getComputedStyle(document.querySelector(selector))[property]"
    paper = page.evaluate(style, ["body", "backgroundColor"])
    assert (luminance(paper) > 0.5) == (scheme == "light")
    surface = page.evaluate(style, [".panel", "backgroundColor"])
    assert contrast(page.evaluate(style, ["body", "color"]), paper) >= 7
    assert contrast(page.evaluate(style, [".hint", "color"]), paper) >= 4.5
    assert contrast(page.evaluate(style, [".plot text", "fill"]), surface) >= 4.5
    resolve = """i => { const e = document.createElement('i'); e.style.color = `var(--s${i})`;
        document.body.append(e); const c = getComputedStyle(e).color; e.remove(); return c; }"""
    for i in range(7):
        assert contrast(page.evaluate(resolve, i), surface) >= 2.9, i


def test_theme_button_overrides_the_scheme_and_is_kept(opened):
    page = opened(scheme="light")
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.locator("#theme").click()
    assert page.evaluate(paper) == light and page.locator("#theme").inner_text() == "Light"
    page.locator("#theme").click()
    assert luminance(page.evaluate(paper)) < 0.1 and page.locator("#theme").inner_text() == "Dark"


def test_opens_from_a_file(browser, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(make_page(make_comparison(tmp_path)), encoding="utf-8")
    context = browser.new_context(offline=True)
    page = context.new_page()
    logged = []
    page.on("console", lambda m: logged.append(m.text))
    page.on("pageerror", lambda e: logged.append(str(e)))
    page.goto(path.as_uri())
    assert len(curves(page)) == 3 and logged == []
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_training_report(browser, tmp_path, scheme):
    """Curves of the measure with its target, a small chart of trials for every tuned solver, the costs."""
    path = tmp_path / "report.html"
    path.write_text(make_page(make_training_comparison(tmp_path, mixed=True)), encoding="utf-8")
    context = browser.new_context(offline=True, viewport=PHONE, color_scheme=scheme)
    page = context.new_page()
    logged = []
    page.on("console", lambda m: logged.append(m.text))
    page.on("pageerror", lambda e: logged.append(str(e)))
    page.goto(path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    # Beside a solvable problem's gap, the net shows what it is judged by, and its target.
    assert len(curves(page, 0)) == len(curves(page, 1)) == 3
    net = page.locator('[data-panel="1"]')
    assert net.locator(".ylabel").text_content() == "accuracy" and net.locator("line.rule").count() == 1
    before = curves(page, 1)
    choose(page, "up", "objective")
    assert curves(page, 1) != before and net.locator("line.rule").count() == 0
    small = page.locator('[data-sensitivity="1"] figure')
    assert small.count() == 2 and page.locator("[data-sensitivity]").count() == 1
    assert small.first.locator("circle.trial").count() == 3
    assert small.first.locator("circle.chosen").count() == small.first.locator("path.diverged").count() == 1
    assert "learning_rate=0.01" in small.first.locator("circle.chosen title").text_content()
    rows = page.locator('[data-result="1"] tbody tr')
    assert rows.locator("td:first-child").all_inner_texts() == ["good", "fair", "fixed"]
    first = rows.first.locator("td").all_inner_texts()
    assert first[2].startswith("210") and any(c.startswith("2×") for c in first) and "1/4" in first
    assert logged == []
    context.close()
