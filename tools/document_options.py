"""The table of options in ``docs/options.md``, written from their declarations.

python -m tools.document_options
"""

from pathlib import Path

from criteo_stream.base.options import Option, declared
from criteo_stream.cli.parameters import PANELS, metavar
from criteo_stream.prepare.options import PrepareExecution, PrepareOptions
from criteo_stream.runs.config import TrainConfig
from criteo_stream.runs.execution import Execution

TARGET = Path(__file__).parents[1] / "docs" / "options.md"

_HEAD = """# Options

Written from the declarations by `python -m tools.document_options`; a test keeps it current.
The groups are those of `--help`. The same declarations make the command line, `--print-config`,
the checks of `TrainConfig(…)`, and the keywords of `preprocess(…)` and `Trainer(…)`.
"""
_NOT_FOR_USERS = {"block_rows"}
_COLUMNS = "| option | what it does | default |\n|---|---|---|\n"
_SECTIONS = (
    (
        "`preprocess`: what decides the data set",
        "Recorded in `DATA/manifest.json`; an unfinished preparation is continued with the same.",
        PrepareOptions,
    ),
    (
        "`preprocess`: how the work is done",
        "May change from try to try; the data set does not depend on it.",
        PrepareExecution,
    ),
    (
        "`train`: what decides the weights",
        "Recorded in `RUN/config.toml`; a run is continued with the same.",
        TrainConfig,
    ),
    (
        "`train`: how training is executed",
        "May change from call to call; but for `--from` the weights do not depend on it.",
        Execution,
    ),
)


def text() -> str:
    """The whole document."""
    parts = [_HEAD]
    for title, note, cls in _SECTIONS:
        parts.append(f"## {title}\n\n{note}\n")
        found = [option for option in declared(cls).values() if option.name not in _NOT_FOR_USERS]
        by_panel = {p: "".join(_row(o) for o in found if o.panel == p) for p in PANELS}
        parts += [
            f"### {panel or 'Options'}\n\n{_COLUMNS}{rows}"
            for panel, rows in by_panel.items()
            if rows
        ]
    return "\n".join(parts)


def _row(option: Option) -> str:
    value = " or ".join(option.choices) or metavar(option)
    shown = f"`{option.flag} {value}`" if value else f"`{option.flag}`"
    if option.also:
        shown += f" or `{option.also}`"
    default = option.chosen_by or f"`{option.default}`"
    if option.default is False or option.default == ():
        default = "off" if option.kind is bool else "none"
    return f"| {shown} | {option.help} | {default} |\n"


if __name__ == "__main__":
    TARGET.write_text(text())
