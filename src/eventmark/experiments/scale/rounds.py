"""One round of an operation: a process that has both corpora open and takes turns on them."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass

from eventmark.experiments.scale.steps import Round
from eventmark.operations.forks import ForkTask, measure_in_turns, ready_operation


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTask:
    """What travels to a worker: the same operation on the small corpus and on the large one."""

    small: ForkTask
    large: ForkTask


async def run_round(task: RoundTask) -> Round:
    """Run in a fresh process. Raises ``CannotRunError``."""
    async with AsyncExitStack() as stack:
        both = [await stack.enter_async_context(ready_operation(side)) for side in (task.small, task.large)]
        small, large = await measure_in_turns(both, task.large.profile)
        return Round(small, large)
