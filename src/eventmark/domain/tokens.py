"""Tracking tokens: a consumer's place in the log, as a value."""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from dataclasses import dataclass
from uuid import UUID

from eventmark.domain.events import GlobalSequence, TransactionId
from eventmark.errors import TokenRefusedError

_FORMAT_VERSION = 1
_BODY = struct.Struct(">B16sIQQ")
_CHECKSUM = struct.Struct(">I")
_ENCODED_LENGTH = 56  # base64 of 37 + 4 bytes, unpadded: 55 characters, see __str__


@dataclass(frozen=True, slots=True)
class TrackingToken:
    """A place between two events: everything at or before it has been read.

    Places are ordered by ``(transaction_id, global_sequence)``; stores that order by the global sequence
    alone leave ``transaction_id`` at 0. ``store_id`` and ``epoch`` fence the token: places of different
    stores, or of one store before and after its transaction ids restarted, cannot be compared.
    """

    store_id: UUID
    epoch: int
    transaction_id: TransactionId
    global_sequence: GlobalSequence

    def compare(self, other: TrackingToken) -> int:
        """-1, 0 or 1: this token is before, at or after the other. Raises ``TokenRefusedError``."""
        if self.store_id != other.store_id or self.epoch != other.epoch:
            raise TokenRefusedError("tokens of different stores or epochs cannot be compared")
        here = (self.transaction_id, self.global_sequence)
        there = (other.transaction_id, other.global_sequence)
        return (here > there) - (here < there)

    def covers(self, other: TrackingToken) -> bool:
        """Whether everything read up to ``other`` has been read up to here as well."""
        return self.compare(other) >= 0

    def lower_bound(self, other: TrackingToken) -> TrackingToken:
        """The earlier of the two: where to go on without missing an event (some may come twice)."""
        return self if self.compare(other) <= 0 else other

    def upper_bound(self, other: TrackingToken) -> TrackingToken:
        """The later of the two: the furthest either has read."""
        return self if self.compare(other) >= 0 else other

    def __str__(self) -> str:
        body = _BODY.pack(
            _FORMAT_VERSION, self.store_id.bytes, self.epoch, self.transaction_id, self.global_sequence
        )
        return base64.urlsafe_b64encode(body + _CHECKSUM.pack(zlib.crc32(body))).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> TrackingToken:
        """The token that ``str(token)`` wrote. Raises ``TokenRefusedError`` on anything else."""
        body = _checked_body(text)
        version, store_id, epoch, transaction_id, global_sequence = _BODY.unpack(body)
        if version != _FORMAT_VERSION:
            raise TokenRefusedError(
                f"token of format version {version}, this release reads {_FORMAT_VERSION}"
            )
        return cls(
            UUID(bytes=store_id), epoch, TransactionId(transaction_id), GlobalSequence(global_sequence)
        )


def _checked_body(text: str) -> bytes:
    if len(text) >= _ENCODED_LENGTH:
        raise TokenRefusedError(f"a token is shorter than {_ENCODED_LENGTH} characters, this has {len(text)}")
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise TokenRefusedError("the token is not base64") from error
    if len(raw) != _BODY.size + _CHECKSUM.size:
        raise TokenRefusedError(f"the token is {len(raw)} bytes, expected {_BODY.size + _CHECKSUM.size}")
    body, checksum = raw[: _BODY.size], raw[_BODY.size :]
    if _CHECKSUM.unpack(checksum)[0] != zlib.crc32(body):
        raise TokenRefusedError("the token's checksum does not match: it was damaged on its way")
    return body
