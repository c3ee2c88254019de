"""When an answer reached this machine: Linux writes down the arrival of every segment of a TCP connection."""

from __future__ import annotations

import mmap
import socket
import struct
import sys
import time

from eventmark.instruments.clock import now_ns

_TIMESTAMPS = 35
"""SO_TIMESTAMPNS, for which Python has no name; see socket(7)."""

_TIMESPEC = struct.Struct("@ll")

_NOWHERE = [mmap.mmap(-1, 1 << 24)]
"""As many bytes as are passed over at most to find the last segment. Nothing is written there: it takes no memory."""


class SegmentArrivals:
    """Of one connection. The socket's descriptor is its owner's, and stays open."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._look = socket.MSG_PEEK | socket.MSG_TRUNC | socket.MSG_DONTWAIT  # takes nothing, copies nothing

    def last_ns(self) -> int:
        """When the last segment that was not read yet arrived, on ``now_ns``; 0 where there is none."""
        try:
            ancillary = self._socket.recvmsg_into(_NOWHERE, 64, self._look)[1]
        except OSError:  # nothing has come, or the connection is lost, which its owner will notice
            return 0
        if not ancillary:
            return 0
        seconds: int
        rest_ns: int
        seconds, rest_ns = _TIMESPEC.unpack(ancillary[0][2])
        return now_ns() - (time.time_ns() - seconds * 1_000_000_000 - rest_ns)

    def close(self) -> None:
        """Leaves the descriptor open."""
        self._socket.detach()


def segment_arrivals(fd: int) -> SegmentArrivals | None:
    """None where nobody writes them down: over a Unix socket, or on a system that does not."""
    connected = socket.socket(fileno=fd)
    try:
        if sys.platform == "linux" and connected.family != socket.AF_UNIX:
            connected.setsockopt(socket.SOL_SOCKET, _TIMESTAMPS, 1)
            return SegmentArrivals(connected)
    except OSError:
        pass  # a kernel that knows the option no more than other systems do
    connected.detach()
    return None
