"""The page in a real browser: nothing is cut off, every curve is drawn and answers the pointer."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from criteo_stream.report import write_report

LONG = "run-fm-embedding-dim-16-bins-32-learning-rate-0.01-epochs-2-seed"
LONGEST = "a_name_that_no_browser_breaks_by_itself_" * 5


@pytest.fixture(scope="module")
def page(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs with names as long as a sweep makes them, and longer."""
    folder = tmp_path_factory.mktemp("shown")
    named = [folder / LONG, folder / LONGEST]
    for run, name in zip(runs, named, strict=True):
        shutil.copytree(run, name, symlinks=True)
    write_report(named, folder / "page.html", quiet=True)
    return folder / "page.html"


@pytest.fixture(autouse=True)
def _as_before(browser: Any) -> Iterator[None]:
    yield
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def opened(browser: Any, page: Path, *, width: int = 1280, scheme: str = "light") -> None:
    from selenium.webdriver.support.wait import WebDriverWait

    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    choose_scheme(browser, scheme)
    browser.get(page.as_uri())
    drawn = "return document.documentElement.dataset.drawn"
    WebDriverWait(browser, 60).until(lambda b: b.execute_script(drawn))


def choose_scheme(browser: Any, scheme: str, media: str = "") -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    chosen = {"media": media, "features": features}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", chosen)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 1280])
def test_all_of_it_is_drawn_and_fits(
    browser: Any, page: Path, tmp_path: Path, width: int, scheme: str
) -> None:
    from matplotlib.image import imread

    opened(browser, page, width=width, scheme=scheme)
    assert not browser.get_log("browser")
    assert browser.execute_script("return document.documentElement.scrollWidth") == width
    too_wide = browser.execute_script(
        "return [...document.querySelectorAll('h1, h3, figure, .plot, .card, dd, li, .scroll')]"
        ".filter((part) => part.scrollWidth > part.clientWidth + 1)"
        ".map((part) => part.className + ' ' + part.getAttribute('aria-label'))"
    )
    # On a telephone the tables scroll within themselves.
    assert [x for x in too_wide if width > 500 or not x.startswith("scroll")] == []
    for picture in browser.execute_script(
        "return [...document.querySelectorAll('.plot')].map((plot) => ({"
        "key: plot.id, marks: plot.querySelectorAll('.trace, .bars .point').length,"
        "titles: plot.querySelectorAll('.xtitle, .ytitle, .x2title').length,"
        "width: plot.querySelector('.main-svg').getBoundingClientRect().width,"
        "room: plot.clientWidth}))"
    ):
        assert picture["marks"] > 0, picture
        assert picture["titles"] == (1 if "importance" in picture["key"] else 2), picture
        assert picture["width"] == picture["room"], picture
    browser.execute_script("document.getElementById('scores').scrollIntoView()")
    browser.save_screenshot(str(tmp_path / "shown.png"))
    pixels = imread(tmp_path / "shown.png")[..., :3]
    assert (pixels.mean() > 0.5) == (scheme == "light")
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 200, "pictures have colours"


def test_the_verdict_comes_first(browser: Any, page: Path) -> None:
    opened(browser, page)
    text = browser.execute_script("return document.body.innerText").strip()
    assert "AUC" in text.splitlines()[0]
    assert LONG in text.splitlines()[0]
    hidden = "return document.getElementById('no-plots').offsetHeight"
    assert browser.execute_script(hidden) == 0


@pytest.mark.parametrize(
    ("plot", "expected"),
    [
        ("chart-roc", "true positives"),
        ("chart-log-loss-over-training", "rows:"),
        ("chart-importance-0", "C"),
        ("chart-values-0-1", "quantile"),
        ("chart-scores-0", "rows with"),
    ],
)
def test_the_pointer_tells_a_value(browser: Any, page: Path, plot: str, expected: str) -> None:
    from selenium.webdriver import ActionChains

    opened(browser, page)
    point = browser.execute_script(
        "const plot = document.getElementById(arguments[0]);"
        "plot.scrollIntoView({block: 'start'});"
        "const line = plot.querySelector('.scatterlayer path.js-line');"
        "if (line) {"
        "  const middle = line.getPointAtLength(line.getTotalLength() / 2);"
        "  const {x, y} = middle.matrixTransform(line.getScreenCTM());"
        "  return [x, y];"
        "}"
        "const bars = [...plot.querySelectorAll('.barlayer .point path')]"
        "  .map((bar) => bar.getBoundingClientRect())"
        "  .sort((a, b) => b.width * b.height - a.width * a.height);"
        "return [bars[0].left + bars[0].width / 2, bars[0].top + bars[0].height / 2];",
        plot,
    )
    pointer = ActionChains(browser)
    pointer.w3c_actions.pointer_action.move_to_location(*(round(x) for x in point))
    pointer.perform()
    shown = browser.execute_script(
        "return [...document.getElementById(arguments[0]).querySelectorAll('.hovertext')]"
        ".map((label) => label.textContent)",
        plot,
    )
    assert shown
    assert expected in shown[0]
    assert any(c.isdigit() for c in shown[0])


def ink(browser: Any) -> list[str]:
    """Colours of ticks, of a curve and of the ground in the first picture."""
    found: list[str] = browser.execute_script(
        "const plot = document.querySelector('.plot');"
        "return [getComputedStyle(plot.querySelector('.xtick text')).fill,"
        "getComputedStyle(plot.querySelector('path.js-line')).stroke,"
        "getComputedStyle(plot.querySelector('.main-svg')).backgroundColor]"
    )
    return found


def lightness(color: str) -> float:
    return float(np.mean([int(part) for part in color[4:-1].split(",")]))


def test_pictures_follow_the_scheme_when_it_changes_and_paper_is_light(
    browser: Any, page: Path
) -> None:
    opened(browser, page, scheme="light")
    light = ink(browser)
    choose_scheme(browser, "dark")
    dark = settled(browser, light)
    choose_scheme(browser, "dark", media="print")
    printed = settled(browser, dark)
    for text, curve, ground in (light, printed):
        assert lightness(ground) > 235
        assert lightness(ground) - lightness(text) > 150
        assert lightness(ground) - lightness(curve) > 80
    text, curve, ground = dark
    assert lightness(ground) < 60
    assert lightness(text) - lightness(ground) > 150
    assert lightness(curve) - lightness(ground) > 80


def settled(browser: Any, before: list[str]) -> list[str]:
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(browser, 30).until(lambda _: ink(browser) != before)
    return ink(browser)


def test_paper_holds_all_of_it(browser: Any, page: Path) -> None:
    opened(browser, page)
    size = {"width": 700, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    choose_scheme(browser, "light", media="print")
    assert browser.execute_script("return document.documentElement.scrollWidth") == 700


def test_the_page_asks_nobody(browser: Any, page: Path) -> None:
    opened(browser, page)
    asked = browser.execute_script(
        "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    )
    assert [name for name in asked if not name.startswith("data:")] == [], json.dumps(asked)


def test_a_browser_without_scripts_shows_the_tables(browser: Any, page: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(page.as_uri())
        shown = browser.execute_script("return document.getElementById('no-plots').innerText")
        assert "need JavaScript" in shown
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
