"""A server in a container, through Testcontainers: run by make test-docker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eventmark.errors import CannotRunError
from eventmark.results.files import read_result
from eventmark.server import Server, provision
from tests.cli.conftest import command  # noqa: F401 - a fixture
from tests.database import fetch

pytestmark = pytest.mark.docker


def containers() -> set[str]:
    image = os.environ["EVENTMARK_DOCKER_IMAGE"]
    listed = ["docker", "ps", "--all", "--quiet", "--filter", f"ancestor={image}"]
    return set(subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split())


@pytest.fixture
def container() -> Iterator[Server]:
    with provision("docker") as server:
        yield server


def test_a_container_is_tuned_durable_and_reachable_from_this_machine_alone(container: Server) -> None:
    assert container.kind == "docker" and container.version_num >= 150000
    assert container.bin_directory is not None and container.directory is None
    asked = {setting.name: setting.value for setting in container.tuning}
    assert asked["fsync"] == asked["synchronous_commit"] == "on"
    for name in ("fsync", "synchronous_commit", "max_connections", "random_page_cost"):
        assert fetch(container.dsn, f"show {name}") == asked[name]
    assert fetch(container.dsn, "select count(*) from pg_stat_statements") >= 0
    published = subprocess.run(
        ["docker", "port", containers().pop()], capture_output=True, text=True, check=True
    )
    assert "127.0.0.1:" in published.stdout and "0.0.0.0" not in published.stdout


def test_a_container_has_a_password_of_its_own_that_is_shown_nowhere(container: Server) -> None:
    assert "***" not in container.dsn and container.program_environment["PGPASSWORD"] not in container.address
    assert container.program_environment["PGPASSWORD"] not in repr(container)
    assert len(container.program_environment["PGPASSWORD"]) >= 16


def test_a_container_is_gone_afterwards_whatever_happened() -> None:
    with pytest.raises(ZeroDivisionError), provision("docker"):
        assert len(containers()) == 1
        raise ZeroDivisionError
    assert containers() == set()


def test_an_interrupted_container_is_gone_too(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "eventmark.cli.main", "run", "--server", "docker", "--events", "100k"]
    process = subprocess.Popen(
        program, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    while not containers():
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 4 and "interrupted" in said
    assert containers() == set()


def test_an_image_that_is_not_there_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENTMARK_DOCKER_IMAGE", "localhost:1/no-such-image:none")
    with (
        pytest.raises(CannotRunError, match="no container of localhost:1/no-such-image:none"),
        provision("docker"),
    ):
        pass


def test_no_docker_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///no/such/docker.sock")
    with pytest.raises(CannotRunError, match="no container of") as refused, provision("docker"):
        pass
    assert "Docker" in refused.value.remedy


def test_the_main_job_runs_in_a_container(command: Any, tmp_path: Path) -> None:  # noqa: F811
    done = command("run", "--server", "docker", "--events", "20k", "--profile", "quick")
    assert done.code in (0, 1, 3), done.err
    result = read_result(tmp_path / "out" / "result.json")
    assert result.environment.server.kind == "docker"
    assert all(one.failed == 0 for one in result.operations.values())
    assert any(floor.tool == "pgbench" for floor in result.operations["append_events[1]"].floors)
    assert containers() == set()
