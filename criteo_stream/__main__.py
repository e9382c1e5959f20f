"""``python -m criteo_stream``, ``torchrun -m criteo_stream``, and the program ``criteo-stream``."""

import sys


def run() -> None:
    """Run the command line; an interruption while it still loads is told in words too."""
    try:
        from criteo_stream.cli import main

        main()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: the same command again continues\n")
        sys.exit(130)


if __name__ == "__main__":
    run()
