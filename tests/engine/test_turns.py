"""Whose turn it is: tenants are served in turn, none starves, none is held back for nobody's sake."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmark.engine.turns import NO_TENANT, PRESENCE_S, Lane, Rotation, Turns


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Desk:
    """A pool without connections: ``size`` places, handed out by turns."""

    def __init__(self, size: int, tenant_max: int | None = None) -> None:
        self.clock = Clock()
        self.turns: Turns[None] = Turns(tenant_max, self.clock)
        self.free = size
        self.holding: list[Lane[None]] = []
        self.served: list[str] = []
        self._loop = asyncio.new_event_loop()

    def ask(self, tenant: str) -> asyncio.Future[None] | None:
        """None where the place is had at once."""
        lane = self.turns.lane(tenant)
        if self.free and self.turns.may_hold(lane):
            self.free -= 1
            self._serve(lane)
            return None
        waiter: asyncio.Future[None] = self._loop.create_future()
        self.turns.wait(lane, waiter)
        return waiter

    def give_back(self, tenant: str, held_s: float = 1.0) -> None:
        lane = next(lane for lane in self.holding if lane.tenant == tenant)
        self.holding.remove(lane)
        self.turns.gave_back(lane, held_s)
        self.free += 1
        self.hand_out()

    def hand_out(self) -> None:
        while self.free and (turn := self.turns.next()) is not None:
            lane, waiter = turn
            waiter.set_result(None)
            self.free -= 1
            self._serve(lane)

    def _serve(self, lane: Lane[None]) -> None:
        self.turns.took(lane)
        self.holding.append(lane)
        self.served.append(lane.tenant)

    def close(self) -> None:
        self._loop.close()


@pytest.fixture
def desk() -> Desk:
    return Desk(2)


def test_a_tenant_that_floods_does_not_delay_another_by_more_than_one_turn(desk: Desk) -> None:
    for _ in range(50):
        desk.ask("flood")
    desk.ask("quiet")
    desk.give_back("flood")
    assert desk.served == ["flood", "flood", "quiet"]


def test_tenants_share_by_the_time_they_hold_connections() -> None:
    desk = Desk(1)
    for _ in range(40):
        desk.ask("long")
        desk.ask("short")
    for _ in range(40):
        tenant = desk.holding[0].tenant
        desk.give_back(tenant, held_s=3.0 if tenant == "long" else 1.0)
    counts = Counter(desk.served)
    assert counts["short"] == pytest.approx(3 * counts["long"], abs=3)


def test_time_that_was_not_asked_for_is_not_saved_up() -> None:
    desk = Desk(1)
    for _ in range(30):
        desk.ask("steady")
    for _ in range(20):
        desk.give_back("steady")
    for _ in range(10):
        desk.ask("newcomer")
    del desk.served[:]
    for _ in range(10):
        desk.give_back(desk.holding[0].tenant)
    assert Counter(desk.served)["newcomer"] <= 6


def test_work_of_no_tenant_is_served_in_its_order_and_does_not_starve(desk: Desk) -> None:
    for _ in range(10):
        desk.ask("busy")
    waiter = desk.ask(NO_TENANT)
    for _ in range(5):
        desk.give_back("busy")
        desk.ask("busy")
    assert waiter is not None
    assert waiter.done()


def test_a_lone_tenant_may_hold_every_connection() -> None:
    desk = Desk(8, tenant_max=2)
    for _ in range(8):
        assert desk.ask("alone") is None


def test_a_tenant_is_held_to_its_bound_while_another_is_present_and_released_when_it_has_gone() -> None:
    desk = Desk(8, tenant_max=2)
    desk.ask("quiet")
    desk.give_back("quiet")
    waiters = [desk.ask("flood") for _ in range(8)]
    assert [waiter is None for waiter in waiters] == [True, True, *[False] * 6]
    desk.clock.now_s += PRESENCE_S + 0.1
    desk.hand_out()
    assert desk.served.count("flood") == 8


def test_consumers_of_all_tenants_are_neither_bounded_nor_company() -> None:
    desk = Desk(8, tenant_max=2)
    for _ in range(3):
        assert desk.ask(NO_TENANT) is None
    for _ in range(5):
        assert desk.ask("alone") is None


@given(
    size=st.integers(1, 4),
    tenant_max=st.none() | st.integers(1, 3),
    steps=st.lists(
        st.tuples(st.sampled_from("abc "), st.sampled_from(["ask", "give", "leave"]), st.floats(0, 2))
    ),
)
def test_nobody_is_lost_nobody_waits_for_a_free_place_and_the_bound_holds(
    size: int, tenant_max: int | None, steps: list[tuple[str, str, float]]
) -> None:
    desk = Desk(size, tenant_max)
    waiting: list[tuple[str, asyncio.Future[None]]] = []
    asked = 0
    for tenant, step, seconds in steps:
        tenant = tenant.strip()
        desk.clock.now_s += seconds
        waiting = [(name, waiter) for name, waiter in waiting if not waiter.done()]
        if step == "ask":
            asked += 1
            if (waiter := desk.ask(tenant)) is not None:
                waiting.append((tenant, waiter))
        elif step == "give" and any(lane.tenant == tenant for lane in desk.holding):
            desk.give_back(tenant, seconds)
        elif step == "leave" and waiting:
            asked -= 1
            waiting.pop(0)[1].cancel()
        if tenant_max is None:
            assert not desk.free or all(waiter.done() for _, waiter in waiting)
    for _ in range(len(waiting) + 1):
        desk.clock.now_s += PRESENCE_S + 1
        for lane in list(desk.holding):
            desk.give_back(lane.tenant)
        desk.hand_out()
    desk.clock.now_s += PRESENCE_S + 1
    desk.hand_out()
    assert len(desk.served) == asked
    desk.close()


def test_a_rotation_takes_of_each_tenant_in_turn_and_of_each_in_order() -> None:
    rotation: Rotation[str] = Rotation()
    for item in ("a1", "a2", "a3", "b1", "c1", "c2"):
        rotation.append(item[0], item)
    first = [rotation.pop() for _ in range(4)]
    assert first == ["a1", "b1", "c1", "a2"]
    rotation.put_back("a", "a2")
    rotation.remove("c", "c2")
    assert sorted(rotation) == ["a2", "a3"]
    assert [rotation.pop() for _ in range(len(rotation))] == ["a2", "a3"]
    assert not rotation
