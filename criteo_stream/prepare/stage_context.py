"""The workspace, threads and budget that all stages share."""

from concurrent.futures import Executor
from dataclasses import dataclass

from criteo_stream.prepare.memory_budget import MemoryBudget
from criteo_stream.prepare.workspace import Workspace


@dataclass(frozen=True)
class StageContext:
    """Where the stages work and with what; it does not decide what they write."""

    workspace: Workspace
    pool: Executor
    """Has ``budget.threads`` threads."""
    budget: MemoryBudget
