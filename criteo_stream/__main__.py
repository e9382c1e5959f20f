"""``python -m criteo_stream``, ``torchrun -m criteo_stream``, and the program ``criteo-stream``."""

import os
import sys


def run() -> None:
    """Run the command line; an interruption while it still loads is told in words too."""
    from criteo_stream.base.terminal import has_colours, open_standard_streams, say

    open_standard_streams()
    if not has_colours(sys.stdout) and "FORCE_COLOR" not in os.environ:
        # In CI, Typer colours pipes as well; read when it is loaded.
        os.environ["_TYPER_FORCE_DISABLE_TERMINAL"] = "1"
    try:
        from criteo_stream.cli import main

        main()
    except KeyboardInterrupt:
        say("interrupted: the same command again continues")
        sys.exit(130)


if __name__ == "__main__":
    run()
