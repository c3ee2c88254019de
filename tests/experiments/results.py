"""The least that a result may hold."""

from __future__ import annotations

from collections.abc import Sequence

from eventmark.results.results import (
    Environment,
    Finding,
    HostEnvironment,
    ServerEnvironment,
    StoreEnvironment,
)


def environment(fitness: Sequence[Finding] = ()) -> Environment:
    return Environment(
        host=HostEnvironment(
            system="Linux", cpu_model="x", cpu_count=2, memory_mib=1024, python="CPython", libraries={},
            eventmark="0", revision="",
        ),
        server=ServerEnvironment(
            kind="embedded", version="18.6", version_num=180006, address="", settings={}, tuning={}, fsync_ms=None
        ),
        store=StoreEnvironment(
            name="eaf", ordering="transaction-id", schema_sha256="", indexes=[], capabilities={}
        ),
        fitness=list(fitness),
    )  # fmt: skip
