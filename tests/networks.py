"""Network namespaces on this machine, each joined to it by a wire of its own. Only root can make them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Network:
    """A namespace with an address, and this machine's address on the other end of its wire."""

    name: str
    address: str
    gateway: str

    @property
    def within(self) -> tuple[str, ...]:
        return ("ip", "netns", "exec", self.name)

    def pids(self) -> set[int]:
        return {int(pid) for pid in ip("netns", "pids", self.name).split()}


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


@contextmanager
def network(number: int) -> Iterator[Network]:
    """A namespace joined to this machine by a pair of veth; both end with it."""
    made = Network(f"eventmark-{os.getpid()}-{number}", f"10.213.{number}.2", f"10.213.{number}.1")
    here, there = (f"em{os.getpid() % 100_000}{end}{number}" for end in "ab")
    ip("netns", "add", made.name)
    try:
        ip("link", "add", here, "type", "veth", "peer", "name", there)
        ip("link", "set", there, "netns", made.name)
        ip("address", "add", f"{made.gateway}/24", "dev", here)
        ip("link", "set", here, "up")
        for command in (
            ("address", "add", f"{made.address}/24", "dev", there), ("link", "set", there, "up"),
            ("link", "set", "lo", "up"), ("route", "add", "default", "via", made.gateway),
        ):  # fmt: skip
            ip("-n", made.name, *command)
        yield made
    finally:
        ip("netns", "delete", made.name)
