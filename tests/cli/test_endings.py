"""However a command ends, it says so in a line, its exit code is never a verdict's by accident, nothing is left."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import asyncpg
import psutil
import pytest

from eventmark.cli.failures import refusal
from eventmark.errors import UsageError
from eventmark.server import Server
from tests.cli.conftest import Command

CANNOT_RUN = 4
COMMAND = [sys.executable, "-m", "eventmark.cli.main"]
DEADLINE_S = 60.0


def started(
    *arguments: str, at: Path, keyboard: Any = signal.default_int_handler, **settings: str
) -> subprocess.Popen[str]:
    """In a session of its own. It heeds interrupts, which a test run in the background ignores, unless told."""
    return subprocess.Popen(
        [*COMMAND, *arguments], cwd=at, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, env=os.environ | settings,
        preexec_fn=lambda: signal.signal(signal.SIGINT, keyboard),
    )  # fmt: skip


async def batches_loaded(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval("select count(*) from eventmark_corpus.eventmark_seed_batches"))
    except asyncpg.UndefinedTableError:
        return 0
    finally:
        await connection.close()


def until_seeding(dsn: str) -> None:
    """Wait until some batches are in the table, and others under way."""
    deadline_s = time.monotonic() + DEADLINE_S
    while asyncio.run(batches_loaded(dsn)) < 2:
        assert time.monotonic() < deadline_s, "seeding did not begin"
        time.sleep(0.05)


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.Error):  # ended meanwhile
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
    return found


def end(process: subprocess.Popen[str]) -> str:
    """What was said until the process ended."""
    try:
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
    return said


def whole_group(process: subprocess.Popen[str]) -> None:
    """Ctrl-C at the terminal: everybody in the foreground gets it."""
    os.killpg(process.pid, signal.SIGINT)


def a_worker(process: subprocess.Popen[str]) -> None:
    workers_of(process)[0].kill()


@pytest.mark.long
@pytest.mark.parametrize(
    ("how", "said"),
    [
        (whole_group, "the same command goes on where it stopped"),
        pytest.param(a_worker, "a worker process was killed", marks=pytest.mark.long),
    ],
)
def test_a_seeder_that_was_ended_is_gone_on_with_and_nothing_is_lost_or_doubled(
    command: Command, database: str, tmp_path: Path, how: Callable[[subprocess.Popen[str]], None], said: str
) -> None:
    asked = ["--events", "120k", "--payload", "lean", "--server", database]
    process = started("seed", *asked, at=tmp_path)
    until_seeding(database)
    how(process)
    heard = end(process)
    assert process.returncode == CANNOT_RUN, heard
    assert said in heard and "Traceback" not in heard
    loaded = asyncio.run(batches_loaded(database))
    assert 2 <= loaded < 12  # or there is nothing to go on with
    again = command("seed", *asked)
    assert again.code == 0, again.err
    assert int(again.out.partition(" events")[0].replace(",", "")) <= 120_000 - 10_000 * loaded
    audited = command("audit", *asked)
    assert audited.code == 0, audited.out


def test_a_server_that_dies_is_said_in_a_line(shared_path: Path) -> None:
    process = started("seed", "--events", "300k", "--directory", "cluster", at=shared_path)
    pid_file = shared_path / "cluster" / "data" / "postmaster.pid"
    deadline_s = time.monotonic() + DEADLINE_S
    while not workers_of(process):
        assert time.monotonic() < deadline_s and process.poll() is None
        time.sleep(0.05)
    os.kill(int(pid_file.read_text().splitlines()[0]), signal.SIGKILL)
    heard = end(process)
    assert process.returncode == CANNOT_RUN, heard
    assert "Traceback" not in heard
    assert "eventmark: " in heard


@pytest.mark.parametrize(
    "how", [whole_group, pytest.param(subprocess.Popen.terminate, marks=pytest.mark.long)]
)
def test_an_interrupted_run_of_a_temporary_server_leaves_nothing(
    tmp_path: Path, how: Callable[[subprocess.Popen[str]], None]
) -> None:
    process = started("run", "--events", "300k", at=tmp_path, TMPDIR="/var/tmp")
    deadline_s = time.monotonic() + DEADLINE_S
    while not workers_of(process):
        assert time.monotonic() < deadline_s and process.poll() is None
        time.sleep(0.05)
    clusters = [child for child in psutil.Process(process.pid).children() if "postgres" in child.name()]
    directories = [Path(child.cmdline()[child.cmdline().index("-D") + 1]).parent for child in clusters]
    how(process)
    heard = end(process)
    assert process.returncode == CANNOT_RUN and "nothing was kept" in heard, heard
    assert directories and not any(directory.exists() for directory in directories)
    assert not any(child.is_running() for child in clusters)
    assert not any(tmp_path.iterdir())


def test_a_load_in_the_background_keeps_what_it_measured_when_it_is_terminated(
    database: str, tmp_path: Path
) -> None:
    load = ["load", "--events", "2k", "--mix", "create_head_token=1", "--rate", "50", "--seconds", "3600"]
    process = started(*load, "--server", database, "--out", "kept", at=tmp_path, keyboard=signal.SIG_IGN)
    assert process.stderr is not None
    before = list(iter_until(process.stderr, "generate load"))
    time.sleep(2)
    whole_group(process)  # which a background shell's programs ignore
    time.sleep(0.5)
    assert process.poll() is None, before
    process.terminate()
    heard = "".join(before) + end(process)
    assert process.returncode == CANNOT_RUN, heard
    assert "Traceback" not in heard
    assert (tmp_path / "kept" / "result.json").exists()


def iter_until(lines: IO[str], wanted: str) -> Iterator[str]:
    """The lines up to the first with ``wanted``."""
    for line in lines:
        yield line
        if wanted in line:
            return


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["stores"]])
def test_a_reader_that_goes_away_is_no_verdict_and_no_traceback(arguments: list[str]) -> None:
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    assert (process.wait(DEADLINE_S), said) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("arguments", [pytest.param(["--help"], marks=pytest.mark.long), ["stores"]])
def test_an_output_that_is_full_is_said_in_a_line(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == CANNOT_RUN
    assert done.stderr.splitlines() == ["eventmark: No space left on device", "  make room, then run again"]


def test_a_closed_output_changes_no_exit_code() -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" >&-', "sh", *COMMAND, "stores"],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("encoding", ["ascii", pytest.param("latin-1", marks=pytest.mark.long)])
def test_an_encoding_that_lacks_characters_gets_others(encoding: str) -> None:
    done = subprocess.run(
        [*COMMAND, "stores"],
        capture_output=True,
        check=False,
        env=os.environ | {"PYTHONIOENCODING": encoding},
    )
    assert done.returncode == 0, done.stderr
    assert "eaf" in done.stdout.decode(encoding)


def _locales() -> str:
    tool = shutil.which("locale")
    return subprocess.run([tool, "-a"], capture_output=True, text=True, check=False).stdout if tool else ""


@pytest.mark.long
@pytest.mark.parametrize("language", ["de_DE", "tr_TR"])
def test_a_locale_with_decimal_commas_changes_no_number(
    server: Server, database: str, tmp_path: Path, language: str
) -> None:
    if f"{language}.utf8" not in _locales():
        pytest.skip(f"this system has no locale {language}")
    process = started(
        "limits", "--events", "2k", "--profile", "quick", "--server", database, at=tmp_path,
        LC_ALL=f"{language}.UTF-8", LANG=f"{language}.UTF-8",
    )  # fmt: skip
    shown, said = process.communicate(timeout=300)
    assert process.returncode in (0, 1, 3), said
    assert "× pgbench" in shown and "psql \\copy" in shown


def test_what_is_not_foreseen_is_a_defect_with_its_traceback_and_never_a_verdict(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> list[str]:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr("eventmark.cli.stores.store_names", broken)
    done = command("stores")
    assert done.code == CANNOT_RUN
    assert "ZeroDivisionError: planted" in done.err
    assert "a defect of Eventmark's own" in done.err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (asyncpg.DiskFullError("could not extend file"), "the server's disk is full: could not extend file"),
        (asyncpg.ConnectionDoesNotExistError("connection was closed"), "the server went away"),
        (
            asyncpg.AdminShutdownError("terminating connection"),
            "the server went away: terminating connection",
        ),
        (asyncpg.InterfaceError("connection is closed"), "the server went away"),
        (ConnectionRefusedError(111, "Connect call failed"), "the server went away"),
        (TimeoutError(), "the server went away: TimeoutError"),
        (
            asyncpg.TooManyConnectionsError("sorry, too many clients already"),
            "the server has no connection left: sorry",
        ),
        (
            asyncpg.InsufficientPrivilegeError("permission denied for table t"),
            "the server refused: permission",
        ),
        (OSError(28, "No space left on device", "/data/x"), "/data/x: No space left on device"),
        (MemoryError(), "memory ran out"),
        (ExceptionGroup("tasks", [ValueError("first"), ConnectionResetError(104, "reset")]), "went away"),
        (UsageError("as it is"), "as it is"),
    ],
)
def test_what_goes_wrong_outside_is_one_line_with_a_remedy(error: Exception, said: str) -> None:
    found = refusal(error)
    assert found is not None
    assert said in found.message and "\n" not in str(found)


@pytest.mark.parametrize(
    "error", [ValueError("x"), asyncpg.UndefinedTableError("x"), asyncpg.InterfaceError("another operation")]
)
def test_what_is_a_defect_of_ours_is_not_put_down_to_the_world(error: Exception) -> None:
    assert refusal(error) is None
