"""A trained model for other programs: its weights or its graph, with the fit that it needs."""

from criteo_stream.export.folder import export_run

__all__ = ["export_run"]
