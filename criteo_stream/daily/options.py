"""Options of progressive validation beside those of preparing and training."""

from criteo_stream.base.options import option, options


@options
class ProgressiveOptions:
    """How the days' sets and runs are kept."""

    keep: int | None = option(
        default=None,
        help="Keep the data sets and runs of this many latest days, and remove older ones.",
        chosen_by="all",
        at_least=1,
    )
