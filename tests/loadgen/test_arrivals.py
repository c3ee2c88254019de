"""When answers came, as the kernel wrote it down: told apart from when they were read."""

from __future__ import annotations

import select
import socket
import sys
import time
from collections.abc import Iterator

import pytest

from eventmark.instruments.clock import now_ns
from eventmark.loadgen.plan import CLIENT
from eventmark.loadgen.wire.arrivals import segment_arrivals
from eventmark.loadgen.wire.connection import WireConnection
from eventmark.loadgen.wire.poller import SelectorPoller
from eventmark.server import Server
from tests.loadgen.conftest import Loaded

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux writes down when a segment came")

STATEMENTS = {
    b"at once": b"select 1",
    b"in two parts": b"select repeat('x', 20000), pg_sleep(0) union all select 'y', pg_sleep(0.3)",
}


@pytest.fixture
def connection(server: Server) -> Iterator[WireConnection]:
    poller = SelectorPoller()
    opened = WireConnection(server.dsn.encode(), STATEMENTS, poller)
    while not opened.is_sound:
        for fd, _ in poller.wait(now_ns() + 10_000_000):
            poller.owners[fd].advance()
    yield opened
    opened.close()
    poller.close()


def read_all(connection: WireConnection) -> int:
    """When the answer was read, to its end."""
    while not connection.advance():
        select.select([connection.fd], [], [])
    assert connection.failure is None
    return now_ns()


def test_an_answer_that_lay_here_came_before_it_was_read(connection: WireConnection) -> None:
    connection.send(b"at once", [], [])
    sent_ns = now_ns()
    select.select([connection.fd], [], [])
    time.sleep(0.5)
    read_ns = read_all(connection)
    assert connection.arrived_ns > sent_ns - 50_000_000  # two clocks are compared
    assert read_ns - connection.arrived_ns >= 250_000_000


def test_an_answer_came_when_its_last_part_did(connection: WireConnection) -> None:
    connection.send(b"in two parts", [], [])
    sent_ns = now_ns()
    time.sleep(0.8)  # both parts lie here
    read_all(connection)
    assert connection.arrived_ns - sent_ns >= 250_000_000


def test_what_came_for_another_question_is_forgotten(connection: WireConnection) -> None:
    connection.send(b"at once", [], [])
    read_all(connection)
    connection.send(b"in two parts", [], [])
    assert connection.arrived_ns == 0
    read_all(connection)


def test_nobody_writes_down_when_something_came_over_a_unix_socket() -> None:
    here, there = socket.socketpair()
    with here, there:
        assert segment_arrivals(here.fileno()) is None
        there.sendall(b"x")
        assert here.recv(1) == b"x"  # the descriptor is as it was


def test_a_kernel_without_the_option_is_as_a_system_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventmark.loadgen.wire.arrivals._TIMESTAMPS", 9_999)
    with socket.create_server(("127.0.0.1", 0)) as server:
        here = socket.create_connection(server.getsockname())
        there, _ = server.accept()
        with here, there:
            assert segment_arrivals(here.fileno()) is None
            there.sendall(b"x")
            assert here.recv(1) == b"x"


def test_of_every_call_on_the_wire_it_is_known_how_long_its_answer_lay_here(loaded: Loaded) -> None:
    mix = "append_events[1]=1, stream_events[1000]=1, read_snapshot=1"
    for operation in loaded(mix, users=4).operations.values():
        assert operation.answer_lag_ns is not None
        assert (operation.answer_lag_ns >= 0).all() and (
            operation.answer_lag_ns <= operation.service_ns
        ).all()
    for operation in loaded(mix, users=4, through=CLIENT).operations.values():
        assert operation.answer_lag_ns is None
