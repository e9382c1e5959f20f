"""The documents as a site: complete, and readable without a network."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import criteo_stream
from criteo_stream.cli import COMMANDS
from tests.support.paths import REPOSITORY

pytest.importorskip("mkdocs")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly: a link or an anchor that leads nowhere is an error."""
    target = tmp_path_factory.mktemp("site")
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(target)]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr[-3000:]
    return target


class _Loaded(HTMLParser):
    """What a browser fetches to show a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag in ("script", "img", "iframe", "source") and named.get("src"):
            self.addresses.append(str(named["src"]))
        if tag == "link" and named.get("rel") not in ("canonical", "prev", "next"):
            self.addresses.append(str(named.get("href")))


def test_every_page_is_there_and_fetches_from_the_site_alone(site: Path) -> None:
    pages = {path.name for path in site.glob("*.html")}
    written = {path.with_suffix(".html").name for path in (REPOSITORY / "docs").glob("*.md")}
    made = {"index.html", "api.html", "cli.html", "benchmarks.html", "changelog.html"}
    assert written | made <= pages
    for name in pages - {"404.html"}:
        loaded = _Loaded()
        loaded.feed((site / name).read_text())
        assert loaded.addresses
        for address in loaded.addresses:
            assert not re.match(r"(https?:)?//", address), f"{name} fetches {address}"
            assert (site / address.partition("?")[0]).exists(), f"{name} lacks {address}"


def test_the_reference_has_every_command_and_name(site: Path) -> None:
    commands, names = (site / "cli.html").read_text(), (site / "api.html").read_text()
    for module in COMMANDS:
        assert f"criteo-stream {module.__name__.rpartition('.')[2]}<" in commands
    for name in criteo_stream.__all__:
        assert name.startswith("_") or f'.{name}"' in names, name


def test_the_search_finds_words_of_the_pages(site: Path) -> None:
    index = (site / "search" / "search_index.json").read_text()
    assert "--max-bad-rows" in index
    assert "predict_proba" in index
