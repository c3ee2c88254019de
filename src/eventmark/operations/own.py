"""A statement of the user's own as an operation: its parameters are drawn as those of the core operations are."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, ClassVar

from eventmark.engine.reads import Reads
from eventmark.engine.receiving import BATCH_BYTES_MAX
from eventmark.engine.statements import Statement
from eventmark.operations.catalogue import STREAM_BATCH_EVENTS
from eventmark.operations.operation import Operation
from eventmark.operations.streams import pick, pick_place
from eventmark.seeding import CorpusSample, SampledStream
from eventmark.stores import STREAM_PARAMETERS, encoder_of

_OF_STREAM = {*STREAM_PARAMETERS, "sequence_number"}
_OF_PLACE = {"transaction_id", "global_sequence"}


class OwnStatement(Operation):
    """Runs a statement of the user's own. Any number of rows is right."""

    asked: ClassVar[Statement]

    @classmethod
    def of(cls, statement: Statement) -> type[OwnStatement]:
        """The operation that runs it."""
        own = {"name": statement.name, "statement": statement.name, "asked": statement}
        return type(cls.__name__, (cls,), own)

    @classmethod
    def not_in(cls, sample: CorpusSample) -> str:
        names = cls._names()
        if names & _OF_STREAM and not _streams(sample):
            return "the corpus has no streams"
        if names & _OF_PLACE and not sample.positions:
            return "no place of the log was drawn"
        return "the store keeps no time of its events" if "instant" in names and not sample.instants else ""

    @classmethod
    def _names(cls) -> set[str]:
        return {parameter.name for parameter in cls.asked.parameters}

    async def prepare(self) -> None:
        names = self._names()
        self._streams = _streams(self.sample) if names & _OF_STREAM else []
        self._places = self.sample.positions if names & _OF_PLACE else []
        self._instants = self.sample.instants if "instant" in names else []
        self._encoders = [
            (parameter.name, encoder_of(parameter.sql_type)) for parameter in self.asked.parameters
        ]
        self._reads = Reads(self.store.pool, BATCH_BYTES_MAX, {self.name: self.asked})

    def draw(self) -> dict[str, Any]:
        values: dict[str, Any] = {"batch_size": STREAM_BATCH_EVENTS}
        if self._streams:
            drawn, naming = pick(self._streams, self.random), self.sample.naming
            values |= {name: value_of(drawn.stream, naming) for name, value_of in STREAM_PARAMETERS.items()}
            values["sequence_number"] = 1 + int(self.random.random() * drawn.version)
        if self._places:
            values["transaction_id"], values["global_sequence"] = pick_place(self._places, self.random)
        if self._instants:
            values["instant"] = self._instants[int(self.random.integers(len(self._instants)))]
        return values

    def call(self, arguments: dict[str, Any]) -> Awaitable[Any]:
        values = (
            arguments[name] if encode is None else encode(arguments[name]) for name, encode in self._encoders
        )
        return self._reads.read(self.name, *values, is_bounded=False)

    def parameters(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return arguments


def _streams(sample: CorpusSample) -> list[SampledStream]:
    """Those drawn from the log, and the long ones."""
    return [*sample.streams, *sample.long_streams]
