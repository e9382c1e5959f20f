"""``python -m criteo_stream``, ``torchrun -m criteo_stream``, and the program ``criteo-stream``."""

import sys


def run() -> None:
    """Run the command line; an interruption while it still loads is told in words too."""
    from criteo_stream.base.terminal import open_standard_streams, say

    open_standard_streams()
    try:
        from criteo_stream.cli import main

        main()
    except KeyboardInterrupt:
        say("interrupted: the same command again continues")
        sys.exit(130)


if __name__ == "__main__":
    run()
