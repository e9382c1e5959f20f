"""Tools beside the package: each is importable and has --help."""
