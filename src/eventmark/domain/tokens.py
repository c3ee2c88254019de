"""Tracking tokens: a consumer's place in the log, as a value."""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from dataclasses import dataclass, replace
from functools import lru_cache
from uuid import UUID

from eventmark.domain.events import GlobalSequence, TransactionId
from eventmark.domain.gaps import (
    Gaps,
    above,
    common,
    count,
    decoded,
    encoded,
    is_sound,
    joined,
    up_to,
)
from eventmark.errors import TokenRefusedError

GAPS_TOKEN_MAX = 10_000
"""Ranges of numbers that a token's text may hold."""

_PLAIN_VERSION = 1
_GAPS_VERSION = 2
_TENANT_VERSIONS = 2  # added to either: the tenant's mark follows the body
_BODY = struct.Struct(">B16sIQQ")
_TENANT = struct.Struct(">I")
_CHECKSUM = struct.Struct(">I")
_PLAIN_BYTES = _BODY.size + _CHECKSUM.size
_BYTES_MAX = _PLAIN_BYTES + _TENANT.size + 20 * GAPS_TOKEN_MAX
_LENGTH_MAX = _BYTES_MAX * 4 // 3 + 2


@dataclass(frozen=True, slots=True)
class TrackingToken:
    """A place between two events: everything at or before it has been read, except what is in ``gaps``.

    Places are ordered by ``(transaction_id, global_sequence)``; stores that order by the global sequence
    alone leave ``transaction_id`` at 0, and only these have ``gaps``: ranges ``(first, last)`` of numbers
    below ``global_sequence`` whose events were not there when the place was passed and may still come.
    ``store_id`` and ``epoch`` fence the token: places of different stores, or of one store before and
    after its transaction ids restarted, cannot be compared. ``tenant`` is the ``tenant_mark`` of the only
    tenant whose events were read up to here: another tenant that read on from this place would miss its earlier
    events. 0: the events of all tenants were read.
    """

    store_id: UUID
    epoch: int
    transaction_id: TransactionId
    global_sequence: GlobalSequence
    gaps: Gaps = ()
    tenant: int = 0

    def compare(self, other: TrackingToken) -> int:
        """-1, 0 or 1: this token is before, at or after the other. Raises ``TokenRefusedError``.

        A token that covers another is never before it; of two that do not cover each other (each has a gap
        that the other has not), the one that has passed fewer events is before.
        """
        if self.store_id != other.store_id or self.epoch != other.epoch:
            raise TokenRefusedError("tokens of different stores or epochs cannot be compared")
        if self.tenant != other.tenant and self.tenant and other.tenant:
            raise TokenRefusedError("tokens of different tenants cannot be compared")
        here = (self.transaction_id, self.global_sequence)
        there = (other.transaction_id, other.global_sequence)
        if here == there and (self.gaps or other.gaps):
            return _compare_gaps(self.gaps, other.gaps)
        return (here > there) - (here < there)

    def covers(self, other: TrackingToken) -> bool:
        """Whether everything read up to ``other`` has been read up to here as well."""
        if not self.gaps and not other.gaps:
            return self.compare(other) >= 0
        return replace(self.upper_bound(other), tenant=self.tenant) == self

    def lower_bound(self, other: TrackingToken) -> TrackingToken:
        """What both have read: where to go on without missing an event (some may come twice)."""
        order = self.compare(other)
        earlier = self if order <= 0 else other
        gaps: Gaps = ()
        if self.gaps or other.gaps:
            gaps = up_to(joined((*self.gaps, *other.gaps)), earlier.global_sequence)
        return _token(earlier, earlier.global_sequence, gaps, self.tenant or other.tenant)

    def upper_bound(self, other: TrackingToken) -> TrackingToken:
        """What either has read: the furthest they came, with the gaps that neither has filled."""
        order = self.compare(other)
        earlier, later = (other, self) if order >= 0 else (self, other)
        gaps = (*common(later.gaps, earlier.gaps), *above(later.gaps, earlier.global_sequence))
        return _token(later, later.global_sequence, joined(gaps), self.tenant or other.tenant)

    def __str__(self) -> str:
        version = _GAPS_VERSION if self.gaps else _PLAIN_VERSION
        if self.tenant:
            version += _TENANT_VERSIONS
        body = _BODY.pack(version, self.store_id.bytes, self.epoch, self.transaction_id, self.global_sequence)
        body += (_TENANT.pack(self.tenant) if self.tenant else b"") + encoded(self.gaps)
        return base64.urlsafe_b64encode(body + _CHECKSUM.pack(zlib.crc32(body))).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> TrackingToken:
        """The token that ``str(token)`` wrote. Raises ``TokenRefusedError`` on anything else."""
        body = _checked_body(text)
        version, store_id, epoch, transaction_id, global_sequence = _BODY.unpack_from(body)
        last_version = _GAPS_VERSION + _TENANT_VERSIONS
        if not _PLAIN_VERSION <= version <= last_version:
            raise TokenRefusedError(
                f"token of format version {version}, this release reads {_PLAIN_VERSION} to {last_version}"
            )
        rest = body[_BODY.size :]
        tenant = 0
        if version > _TENANT_VERSIONS:
            tenant, rest = int.from_bytes(rest[: _TENANT.size]), rest[_TENANT.size :]
            version -= _TENANT_VERSIONS
            if not tenant:
                raise TokenRefusedError("the token of a tenant's events names no tenant")
        if (version == _PLAIN_VERSION) != (not rest):
            raise TokenRefusedError(f"a token of its format version is not {len(body)} bytes long")
        gaps = decoded(rest)
        if len(gaps) > GAPS_TOKEN_MAX or not is_sound(gaps, global_sequence):
            raise TokenRefusedError("the token's gaps are not ones that a store can have")
        return cls(
            UUID(bytes=store_id),
            epoch,
            TransactionId(transaction_id),
            GlobalSequence(global_sequence),
            gaps,
            tenant,
        )


@lru_cache(maxsize=10_000)
def tenant_mark(tenant_id: str) -> int:
    """What a token keeps of a tenant: 1 to 2^32 - 1, the same for ever."""
    return zlib.crc32(tenant_id.encode()) or 1


def _compare_gaps(here: Gaps, there: Gaps) -> int:
    """Which of two tokens at the same place has read less; in the end their gaps decide, so that 0 is 'same'."""
    ours, other = (count(there), there), (count(here), here)  # more in the gaps is less that was read
    return (ours > other) - (ours < other)


def _token(token: TrackingToken, position: int, gaps: Gaps, tenant: int) -> TrackingToken:
    """``token`` at ``position`` with ``gaps``; a position in a gap goes back to before it."""
    if gaps and gaps[-1][1] >= position:
        position, gaps = gaps[-1][0] - 1, gaps[:-1]
    return TrackingToken(
        token.store_id, token.epoch, token.transaction_id, GlobalSequence(position), gaps, tenant
    )


def _checked_body(text: str) -> bytes:
    if len(text) > _LENGTH_MAX:
        raise TokenRefusedError(f"a token is at most {_LENGTH_MAX} characters long, this has {len(text)}")
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise TokenRefusedError("the token is not base64") from error
    if len(raw) < _PLAIN_BYTES:
        raise TokenRefusedError(f"the token is {len(raw)} bytes, expected {_PLAIN_BYTES} at least")
    body, checksum = raw[: -_CHECKSUM.size], raw[-_CHECKSUM.size :]
    if _CHECKSUM.unpack(checksum)[0] != zlib.crc32(body):
        raise TokenRefusedError("the token's checksum does not match: it was damaged on its way")
    return body
