"""The command line: options to a call, its result to text or JSON, errors to one sentence."""

from criteo_stream.cli.app import main

__all__ = ["main"]
