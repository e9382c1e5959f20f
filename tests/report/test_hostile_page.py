"""A page about runs of others: whatever they name things, it stays a page of text and pictures."""

import base64
import gzip
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from criteo_stream.report import write_report
from criteo_stream.report.facts import RunFacts
from criteo_stream.report.page import render
from tests.support.page import Page, figures, without_scripts

ATTACKS = (
    "<script>window.pwned=1</script>",
    '"><img src=x onerror=window.pwned=1>',
    "' autofocus tabindex=0 onfocus=window.pwned=1 x='",
    "</svg></style></title><svg onload=window.pwned=1>",
    '"/><a href="javascript:window.pwned=1">x</a>',
    "--><iframe srcdoc='<script>parent.pwned=1</script>'></iframe>",
    "{{ 7 * 191 }}{% raw %}]]><base href=//evil>",
    "x) } * { background: url(https://evil/)",
    "\u202e\x1b[31m\x00\x7f",
)


@dataclass(frozen=True)
class Options:
    """In the place of a run's configuration, whose values are checked."""

    attack: str

    def to_dict(self) -> Mapping[str, object]:
        return {"model": self.attack, "numeric": self.attack, "epochs": 1}


def crafted(facts: RunFacts, attack: str) -> RunFacts:
    """The facts of a run with the attack in everything that is text."""
    record: Any = replace(
        facts.record,
        config=Options(attack),  # type: ignore[arg-type]
        data=attack,
        fingerprint=attack,
        package_version=attack,
        from_run=attack,
    )
    data = replace(
        facts.data,
        path=attack,
        fingerprint=attack,
        layout=attack,
        positives={**facts.data.positives, attack: 1},
        rows={**facts.data.rows, attack: 2},
        integers=[replace(c, column=attack) for c in facts.data.integers],
        categories=[replace(c, column=attack) for c in facts.data.categories],
    )
    return replace(facts, name=attack, path=attack, record=record, data=data)


@pytest.fixture(scope="module")
def page(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run per attack, side by side."""
    folder = tmp_path_factory.mktemp("hostile")
    (facts,) = write_report(runs[1:], folder / "plain.html", quiet=True).runs
    told = render([crafted(facts, attack) for attack in ATTACKS], "valid")
    (folder / "page.html").write_bytes(told.encode())
    return folder / "page.html"


def test_it_holds_nothing_but_text_and_pictures(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    found = Page(text)
    allowed = {
        "a", "body", "br", "dd", "details", "div", "dl", "dt", "em", "figcaption", "figure",
        "footer", "h1", "h2", "h3", "h4", "head", "header", "html", "li", "link", "main", "meta",
        "nav", "p", "script", "section", "small", "span", "strong", "style", "summary", "table",
        "tbody", "td", "th", "thead", "title", "tr", "ul",
    }  # fmt: skip
    assert {tag for tag, _ in found.tags} <= allowed
    assert [attributes.get("id") for tag, attributes in found.tags if tag == "script"] == [
        "figures", "library", None,
    ]  # fmt: skip
    names = {name for _, attributes in found.tags for name in attributes}
    assert not {name for name in names if name.startswith("on") or name in ("srcdoc", "action")}
    ids = found.values("id")
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[a-z][a-z0-9-]*", name) for name in ids)
    for attribute in ("href", "src", "xlink:href"):
        assert all(x == "data:," or x[1:] in ids for x in found.values(attribute))
    for style in found.values("style"):
        assert not re.search(r"(?i)expression|javascript|evil", style)
    shown = without_scripts(text)
    assert "1337" not in shown
    assert all(c == "\n" or c.isprintable() for c in shown.replace("\xa0", ""))
    words = " ".join(found.words)
    for attack in ATTACKS[:-1]:
        assert " ".join(attack.split()) in words
    assert r"\u202e\x1b[31m\x00\x7f" in words


def strings(value: Any) -> Iterator[str]:
    """All texts within plain values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from strings(part)


def test_names_in_the_pictures_are_neither_html_nor_the_markup_of_plotly(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    found = figures(text)
    embedded = text[text.index('id="figures">') + 13 :]
    assert not set("<>&'") & set(embedded[: embedded.index("</script>")])
    told = [*strings(found)]
    markup = re.compile(r"<(?!br>|extra>|/extra>)")
    assert not [x for x in told if markup.search(x)]
    assert any("&lt;script&gt;" in x for x in told)
    assert all(x.isprintable() for x in told)
    templates = [x for x in told if "%{" in x]
    assert not [x for x in templates if "pwned" in x], "a name is no part of a template"


def test_its_policy_allows_its_own_scripts_and_no_request(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    found = Page(text)
    (policy,) = [
        attributes["content"]
        for tag, attributes in found.tags
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None
    sources = dict(part.split(" ", 1) for part in policy.split("; "))
    assert sources.pop("default-src") == "'none'"
    assert sources.pop("style-src") == "'unsafe-inline'"
    assert sources.pop("img-src") == "data: blob:"
    own = re.search(r"(?s)<script>(.*?)</script>", text)
    packed = re.search(r'(?s)id="library">(.*?)</script>', text)
    assert own
    assert packed
    scripts = own[1].encode(), gzip.decompress(base64.b64decode(packed[1]))
    hashes = [base64.b64encode(hashlib.sha256(script).digest()).decode() for script in scripts]
    assert {*sources.pop("script-src").split()} == {f"'sha256-{one}'" for one in hashes}
    assert set(sources.values()) == {"'none'"}
    before = [tag for tag, _ in found.tags].index("meta")
    assert "style" not in [tag for tag, _ in found.tags][: before + 1]


def test_a_browser_runs_none_of_it(browser: Any, page: Path) -> None:
    from selenium.webdriver.support.wait import WebDriverWait

    browser.get(page.as_uri())
    drawn = "return document.documentElement.dataset.drawn"
    WebDriverWait(browser, 60).until(lambda b: b.execute_script(drawn))
    assert not browser.get_log("browser")
    assert browser.execute_script("return window.pwned === undefined")
    assert browser.execute_script("return document.querySelectorAll('script').length") == 4
    added = "return document.querySelectorAll('iframe, img, svg a').length"
    assert browser.execute_script(added) == 0
    # What a visitor does: the tables open, every part takes the focus.
    browser.execute_script(
        "for (const part of document.querySelectorAll('summary')) part.click();"
        "for (const part of document.querySelectorAll('[tabindex], a')) part.focus();"
    )
    assert browser.execute_script("return document.querySelectorAll('details[open]').length") == (
        1 + len(ATTACKS)
    )
    assert browser.execute_script("return window.pwned === undefined")
    width = "return document.querySelector('#training .main-svg').getBoundingClientRect().width"
    assert browser.execute_script(width) > 100
    assert browser.execute_script(
        "return getComputedStyle(document.querySelector('#training .chip')).backgroundColor"
    ).startswith("rgb")
    # An injected script would be stopped by the policy as well.
    browser.execute_script(
        "const script = document.createElement('script');"
        "script.text = 'window.pwned = 1'; document.body.append(script)"
    )
    assert browser.execute_script("return window.pwned === undefined")
    (told,) = browser.get_log("browser")
    assert "Content Security Policy" in told["message"]
