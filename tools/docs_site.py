"""Pages of the documentation site that are made when it is built; a hook of MkDocs.

The command line's reference comes from its declarations, Python's from the docstrings, and the
repository's own pages (README, benchmarks, changes) are taken in. Links between all of them are
rewritten; a link to any other file of the repository leads to it on the web.
"""

import os
import re
from pathlib import Path, PurePosixPath
from typing import Final

import typer.cli
import typer.main
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import criteo_stream
from criteo_stream.cli import app

REPOSITORY: Final = Path(__file__).parents[1]
ON_THE_WEB: Final = "https://github.com/criteo-stream/criteo-stream/blob/main"
TAKEN_IN: Final = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "benchmarks.md",
    "benchmarks/LOG.md": "experiments.md",
}
"""Pages of the repository, and what they are called on the site."""
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made and those that are taken in."""
    pages = {
        name: _linked((REPOSITORY / path).read_text(), path) for path, name in TAKEN_IN.items()
    }
    for name, text in (pages | {"cli.md": command_line(), "api.md": python()}).items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite a page's links that lead out of the documents."""
    own = page.file.generated_by is None
    return _linked(markdown, f"docs/{page.file.src_uri}") if own else markdown


def command_line() -> str:
    """The reference of all commands and options, by Typer."""
    command = typer.main.get_command(app)
    context = typer.Context(command, info_name="criteo-stream", resilient_parsing=True)
    text = typer.cli.get_docs_for_click(obj=command, ctx=context)
    return re.sub("^# .*$", "# Command line", text, count=1, flags=re.MULTILINE)


def python() -> str:
    """The reference of the public names, for mkdocstrings to fill in."""
    names = [name for name in criteo_stream.__all__ if not name.startswith("_")]
    homes = [f"::: {getattr(criteo_stream, name).__module__}.{name}" for name in names]
    return (
        "# Python\n\nEvery name is imported from `criteo_stream`.\n\n" + "\n\n".join(homes) + "\n"
    )


def _linked(text: str, source: str) -> str:
    """A page's text with its relative links as they are on the site.

    Args:
        text: Markdown.
        source: The page's path in the repository.
    """
    folder = PurePosixPath(source).parent

    def rewritten(match: re.Match[str]) -> str:
        target = os.path.normpath(folder / match[1])
        if target in TAKEN_IN:
            return TAKEN_IN[target]
        if target.startswith("docs/"):
            return target.removeprefix("docs/")
        return f"{ON_THE_WEB}/{target}"

    return _LINK.sub(rewritten, text)
