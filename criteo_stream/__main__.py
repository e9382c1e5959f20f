"""``python -m criteo_stream``, and ``torchrun -m criteo_stream``."""

from criteo_stream.cli import main

main()
