"""A rank's share of every batch, and a worker's share of a rank's: neighbouring lanes.

Each lane gives about batch_size / lanes rows to a batch (`Order.lane_bounds`), so a share of the
lanes is a share of each batch; together the ranks hold every row exactly once.
"""

from typing import Final

MOST_LANES: Final = 4096
"""A lane costs memory for two row groups, and time at every batch."""


def share(owned: range, part: int, parts: int) -> range:
    """The neighbouring lanes of one of ``parts`` consumers: a rank of all, a worker of a rank's."""
    bounds = [owned.start + p * len(owned) // parts for p in (part, part + 1)]
    return range(*bounds)
