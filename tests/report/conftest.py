"""Two runs to report on, and a browser to look at the page."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.data_sets import prepare
from tests.support.page import NASTY
from tests.support.raw_lines import raw_lines, write_raw
from tests.support.training import fit


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    raw = write_raw(folder / "raw.txt", raw_lines(4000))
    prepare(raw, folder / "data", min_count=3)
    return folder / "data"


@pytest.fixture(scope="session")
def runs(data: Path) -> list[Path]:
    """Two runs on one data set, one of them with a name that means something in HTML and TeX."""
    folders = [data.parent / NASTY, data.parent / "plain"]
    fit(data, folders[0], evaluate_every=1000)
    fit(data, folders[1], evaluate_every=1000, embedding_dim=2, seed=1)
    return folders


@pytest.fixture(scope="session")
def browser() -> Any:
    """Headless Chromium; without it, or without Selenium, the test is skipped."""
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("needs chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-dev-shm-usage",
        "disable-background-networking",
        "disable-component-update",
        "hide-scrollbars",
    ):
        options.add_argument(f"--{flag}")  # fmt: skip
    service = webdriver.ChromeService(executable_path=driver)
    with webdriver.Chrome(options=options, service=service) as started:
        yield started
