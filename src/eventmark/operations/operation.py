"""What every operation is: arguments drawn outside the measured time, a call, and an answer that is right or wrong."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable
from typing import Any, ClassVar

import numpy as np

from eventmark.domain import Capabilities
from eventmark.errors import EventStoreError
from eventmark.seeding import CorpusSample
from eventmark.stores import PooledStore


class Operation(ABC):
    """One operation on one store, in one process. ``name`` is its name in results, targets and reports."""

    name: ClassVar[str]
    statement: ClassVar[str] = ""  # the SQL file it runs, "" where it needs none
    has_cold: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ()  # fields of ``Capabilities``

    def __init__(self, store: PooledStore, sample: CorpusSample, random: np.random.Generator) -> None:
        self.store = store
        self.sample = sample
        self.random = random

    @classmethod
    def missing(cls, capabilities: Capabilities, sample: CorpusSample) -> str:
        """Why the operation cannot be measured on this store and corpus; empty when it can."""
        return capabilities.lack(*cls.needs) or cls.not_in(sample)

    @classmethod
    def not_in(cls, sample: CorpusSample) -> str:
        """What the corpus lacks for it; empty when nothing."""
        return ""

    async def prepare(self) -> None:  # noqa: B027 - most operations need none
        """Once, before the first draw."""

    @abstractmethod
    def draw(self) -> Any:
        """The arguments of the next call."""

    @abstractmethod
    def call(self, arguments: Any) -> Awaitable[Any]:
        """What is measured."""

    async def begin(self, arguments: Any) -> None:  # noqa: B027 - most calls need none
        """Before the call, outside of what is measured."""

    async def end(self, arguments: Any) -> None:  # noqa: B027 - most calls need none
        """After the call, whatever came of it, outside of what is measured."""

    def parameters(self, arguments: Any) -> dict[str, Any]:
        """The same call as parameters of the statement, by name, for other tools to run it."""
        return {}

    def is_right(self, arguments: Any, answer: Any) -> bool:
        """Whether the answer is what the operation is for; a wrong one counts as failed."""
        return True

    def complaint(self, arguments: Any, answer: Any) -> str:
        """What is wrong about an answer that is not right."""
        return f"the answer is not what was asked for: {str(answer)[:100]}"

    def release(self, arguments: Any) -> None:  # noqa: B027 - most draws hold nothing
        """The call that was drawn is not made."""

    async def recover(self, arguments: Any, error: EventStoreError | None) -> None:  # noqa: B027
        """After a call that did not succeed, outside of what is measured: what is known of the store again.

        ``error`` is None where the answer was wrong or never came.
        """
