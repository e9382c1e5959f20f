"""The page of a report as its tests read it."""

import json
import re
from html.parser import HTMLParser
from typing import Any

NASTY = "<img src=x onerror=alert(1)>&amp; \"'$a_b$"
"""A name that means something in HTML and TeX."""


def without_scripts(text: str) -> str:
    """The page less what is in its scripts, whose text may be anything."""
    return re.sub(r"(?s)(<script[^>]*>).*?</script>", r"\1</script>", text)


def figures(text: str) -> dict[str, Any]:
    """What the page draws, by the ids of its pictures."""
    match = re.search(r'(?s)<script type="application/json" id="figures">(.*?)</script>', text)
    assert match
    found: dict[str, Any] = json.loads(match[1])
    return found


class Page(HTMLParser):
    """What the tests look at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._inside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if data.strip() and not {"style", "script"} & {*self._inside}:
            self.words.append(" ".join(data.split()))

    def values(self, attribute: str) -> list[str]:
        return [value for _, attrs in self.tags if (value := attrs.get(attribute)) is not None]
