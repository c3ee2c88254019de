"""A real Prometheus scrapes a run; the alert of a target that is missed is raised."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from eventmark.cli.main import run_command
from eventmark.results.targets import DEFAULT_TARGETS
from eventmark.seeding import seed
from eventmark.stores import find_store
from eventmark.workload import CorpusPlan
from tests.jobs.test_metering import free_port

PROMETHEUS = shutil.which("prometheus")
EVENTS = 20_000
DEADLINE_S = 120.0
PLANTED = {"append_events[1]", "append_events[10]"}
_SLOW = """
create function eventmark_corpus.planted_delay() returns trigger language plpgsql as
$$ begin perform pg_sleep(0.03); return null; end $$;
create trigger planted after insert on eventmark_corpus.domain_events
for each statement execute function eventmark_corpus.planted_delay();
"""


def asked(port: int, question: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/{question}", timeout=10) as answer:
        return json.load(answer)["data"]


@contextmanager
def prometheus(directory: Path, metrics_port: int) -> Iterator[int]:
    """Prometheus with the rules in ``directory``, scraping every second; its port."""
    assert PROMETHEUS is not None
    configuration = (directory / "prometheus-scrape.yml").read_text()
    configuration = configuration.replace("5s", "1s").replace("127.0.0.1:9464", f"127.0.0.1:{metrics_port}")
    (directory / "prometheus.yml").write_text(configuration)
    port = free_port()
    with (directory / "prometheus.log").open("w") as log:
        process = subprocess.Popen(
            [
                PROMETHEUS, "--config.file=prometheus.yml", f"--web.listen-address=127.0.0.1:{port}",
                "--storage.tsdb.path=data",
            ],
            cwd=directory, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            yield port
        finally:
            process.terminate()
            process.wait(30)


def plant(dsn: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute(_SLOW)
        finally:
            await connection.close()

    asyncio.run(run())


@pytest.mark.long
@pytest.mark.skipif(PROMETHEUS is None, reason="no Prometheus on this machine")
def test_a_planted_breach_of_a_target_raises_its_alert_and_no_other_target_s(
    database: str, tmp_path: Path
) -> None:
    asyncio.run(seed(database, find_store("eaf"), CorpusPlan(EVENTS), schema="eventmark_corpus", workers=2))
    plant(database)
    # Only what is planted can miss its target, however busy the machine is.
    targets = dict.fromkeys(DEFAULT_TARGETS, 10000) | dict.fromkeys(PLANTED, 10)
    lines = [f'"{name}" = {limit}' for name, limit in targets.items()]
    (tmp_path / "targets.toml").write_text("\n".join(["[targets]", *lines]))
    assert run_command([
        "dashboards", "--window", "15s", "--for", "0s", "--targets", str(tmp_path / "targets.toml"),
        "--out", str(tmp_path),
    ]) == 0  # fmt: skip
    metrics_port = free_port()
    command = [
        sys.executable, "-m", "eventmark.cli.main", "run", "--server", database, "--events", str(EVENTS),
        "--profile", "quick", "--no-floors", "--metrics-port", str(metrics_port), "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    fired: set[str] = set()
    with prometheus(tmp_path, metrics_port) as port, subprocess.Popen(command, cwd=tmp_path) as run:
        deadline_s = time.monotonic() + DEADLINE_S
        while run.poll() is None and time.monotonic() < deadline_s:
            time.sleep(0.5)
            try:
                alerts = asked(port, "alerts")["alerts"]
            except OSError:  # it is not up yet
                continue
            fired |= {
                alert["labels"]["operation"]
                for alert in alerts
                if alert["labels"]["alertname"] == "EventmarkTargetBroken" and alert["state"] == "firing"
            }
        series = asked(port, "label/__name__/values")
    assert fired == PLANTED
    assert {"eventmark_head_position", "eventmark:operation_seconds:quantile"} <= set(series)
