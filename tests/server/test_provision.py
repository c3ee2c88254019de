"""Clusters of our own: life cycle, reuse, refusals, and what happens when we are killed."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from eventmark.errors import CannotRunError, UsageError
from eventmark.server import Server, provision
from eventmark.server.account import Account, readable_installation, server_account
from eventmark.server.cluster import Cluster
from eventmark.server.directory import MARKER_FILE
from eventmark.server.installations import embedded_installation, local_installation
from eventmark.server.role import store_dsn
from tests.database import execute, fetch

KIND = os.environ.get("EVENTMARK_TEST_SERVER", "embedded")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may act as other users")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that other users may enter: those of pytest are closed to them, again by each run that begins."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        yield opened(Path(directory))


def opened(place: Path) -> Path:
    """The directory, and those above it that pytest made, which may be entered by all from now on."""
    for directory in (place, *place.parents):
        if directory == Path(tempfile.gettempdir()):
            break
        directory.chmod(0o755)
    return place


def kept_cluster(directory: Path) -> None:
    """A cluster that was made here and kept, and has never run."""
    installation = embedded_installation() if KIND == "embedded" else local_installation()
    Cluster(installation, directory).prepare(())


def test_server_answers_with_the_tuning_it_claims(server: Server) -> None:
    for setting in server.tuning:
        if setting.value.endswith("MB"):
            query = f"select pg_size_bytes(current_setting('{setting.name}')) / 1048576 || 'MB'"
        else:
            query = f"select current_setting('{setting.name}')"
        assert fetch(server.dsn, query) == setting.value, setting.name


def test_server_states_the_version_that_runs(server: Server) -> None:
    assert int(str(fetch(server.dsn, "show server_version_num"))) == server.version_num
    assert server.pid is not None and psutil.pid_exists(server.pid)


def test_server_wants_the_password_that_its_address_does_not_show(server: Server) -> None:
    password = server.program_environment["PGPASSWORD"]
    assert password and password not in server.address and password not in server.program_dsn
    assert password not in repr(server)
    with pytest.raises(asyncpg.InvalidPasswordError):
        fetch(server.address.replace("@", ":guess@"), "select 1")


def test_psql_of_the_server_connects_without_a_password_on_its_command_line(server: Server) -> None:
    assert server.bin_directory is not None
    psql = server.bin_directory / "psql"
    if not psql.exists():
        pytest.skip("these binaries come without psql")
    done = subprocess.run(
        [psql, server.program_dsn, "-Atc", "select 42"],
        env=os.environ | server.program_environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "42", done.stderr


def test_temporary_cluster_leaves_nothing_behind() -> None:
    with provision(KIND, durable=False) as started:
        directory, pid = started.directory, started.pid
    assert directory is not None and not directory.exists()
    assert pid is not None and not psutil.pid_exists(pid)


def test_error_inside_stops_and_removes_the_cluster() -> None:
    with pytest.raises(ZeroDivisionError), provision(KIND, durable=False) as started:
        raise ZeroDivisionError
    assert started.directory is not None and not started.directory.exists()
    assert started.pid is not None and not psutil.pid_exists(started.pid)


def test_kept_cluster_keeps_its_rows_is_reused_and_survives_a_run_that_does_not_keep(place: Path) -> None:
    directory = place / "cluster"
    with provision(KIND, directory=directory, keep=True, durable=False) as first:
        assert not first.kept
        execute(first.dsn, "create schema mine", "create table mine.kept as select 7 as answer")
    with provision(KIND, directory=directory, durable=False) as second:
        assert second.kept
    with provision(KIND, directory=directory, durable=False) as third:
        assert fetch(third.dsn, "select answer from mine.kept") == 7


def test_second_run_on_a_running_cluster_is_refused_and_harms_nothing(place: Path) -> None:
    with provision(KIND, directory=place / "cluster", durable=False) as first:
        with (
            pytest.raises(CannotRunError, match=f"running already, as process {first.pid}"),
            provision(KIND, directory=place / "cluster", durable=False),
        ):
            pass
        assert fetch(first.dsn, "select 1") == 1


def test_killed_server_is_started_again_on_what_it_left(place: Path) -> None:
    directory = place / "cluster"
    with provision(KIND, directory=directory, keep=True, durable=False) as first:
        execute(first.dsn, "create schema mine", "create table mine.kept as select 7 as answer")
        assert first.pid is not None
        os.kill(first.pid, signal.SIGKILL)
    assert (directory / "data" / "postmaster.pid").exists()
    with provision(KIND, directory=directory, durable=False) as second:
        assert fetch(second.dsn, "select answer from mine.kept") == 7


def test_stale_pid_file_naming_a_living_stranger_is_cleared_away(place: Path) -> None:
    directory = place / "cluster"
    kept_cluster(directory)
    (directory / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n{directory}/data\n")
    with provision(KIND, directory=directory, durable=False) as second:
        assert fetch(second.dsn, "select 1") == 1


def test_cluster_of_another_major_version_is_refused_and_stays(place: Path) -> None:
    directory = place / "cluster"
    kept_cluster(directory)
    (directory / "data" / "PG_VERSION").write_text("14\n")
    with pytest.raises(CannotRunError, match="is of PostgreSQL 14"), provision(KIND, directory=directory):
        pass
    assert (directory / MARKER_FILE).exists()


def test_foreign_directory_is_refused_and_untouched(place: Path) -> None:
    (place / "letter").write_text("mine")
    with (
        pytest.raises(CannotRunError, match="holds no cluster of Eventmark's"),
        provision(KIND, directory=place),
    ):
        pass
    assert [path.name for path in place.iterdir()] == ["letter"]


def test_empty_directory_of_the_users_is_used_and_stays(place: Path) -> None:
    with provision(KIND, directory=place, durable=False) as started:
        assert started.directory == place
    assert place.exists() and not any(place.iterdir())


def test_relative_directory_is_where_the_user_stands(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    with provision(KIND, directory=Path("here"), durable=False) as started:
        assert started.directory == place / "here"
        assert (place / "here" / "data" / "PG_VERSION").exists()


def test_port_in_use_is_named_and_nothing_is_made(place: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(CannotRunError, match=f"port {port} of 127.0.0.1 is in use") as caught,
            provision(KIND, directory=place / "cluster", port=port),
        ):
            pass
    assert "--port" in caught.value.remedy
    assert not (place / "cluster").exists()


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_number_that_is_no_port_is_a_usage_error(place: Path, port: int) -> None:
    with pytest.raises(UsageError, match="is not a port"), provision(KIND, directory=place / "c", port=port):
        pass
    assert not (place / "c").exists()


def test_directory_below_a_file_is_refused(place: Path) -> None:
    (place / "file").write_text("")
    with pytest.raises(CannotRunError, match="file"), provision(KIND, directory=place / "file" / "cluster"):
        pass


@as_root
def test_directory_the_servers_user_cannot_enter_is_refused_and_nothing_stays(place: Path) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(CannotRunError, match="cannot reach"), provision(KIND, directory=closed / "cluster"):
        pass
    assert not any(closed.iterdir())


@as_root
def test_server_does_not_run_as_root(server: Server) -> None:
    assert psutil.Process(server.pid).uids().effective == server_account().uid != 0


@as_root
def test_installation_out_of_the_servers_reach_is_copied_once_and_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed" / "package"
    closed.mkdir(parents=True)
    (tmp_path / "closed").chmod(0o700)
    original = embedded_installation()
    (closed / "pginstall").symlink_to(original)
    account = server_account()
    (tmp_path / "cache").mkdir()
    opened(tmp_path / "cache")
    monkeypatch.setattr("eventmark.server.account._private_directory", lambda _: tmp_path / "cache")
    copy = readable_installation(closed / "pginstall", account)
    assert copy != closed / "pginstall" and account.may("x", copy / "bin" / "initdb")
    assert readable_installation(closed / "pginstall", account) == copy
    assert len(list((tmp_path / "cache").iterdir())) == 1
    done = subprocess.run(
        [copy / "bin" / "postgres", "--version"], cwd="/", check=False, **account.popen_arguments()
    )
    assert done.returncode == 0


@as_root
def test_ordinary_user_runs_a_server_of_their_own(place: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    account = Account("nobody", nobody.pw_uid, nobody.pw_gid)
    same_version = Path(f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}")
    usable = [python for python in (Path(sys.executable), same_version) if account.may("x", python)]
    if not usable or not account.may("r", Path(psutil.__file__)):
        pytest.skip("the interpreter or the packages lie where other users may not go")
    account.own(place)
    done = run_script(
        f"with provision({KIND!r}, directory=Path('cluster'), durable=False) as server:\n"
        "    print(psutil.Process(server.pid).uids().effective)",
        python=usable[0], home=place, cwd=place, **account.popen_arguments(),
    )  # fmt: skip
    shown, errors = done.communicate(timeout=60)
    assert shown.strip() == str(nobody.pw_uid), errors
    assert not any(place.iterdir())


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_server_and_its_files_go_when_its_run_is_killed(how: signal.Signals) -> None:
    run = run_script(HOLD)
    assert run.stdout is not None
    pid, directory = run.stdout.readline().split()
    run.send_signal(how)
    run.wait(30)
    assert_gone(int(pid), Path(directory))


def test_interrupt_at_the_terminal_stops_the_server_in_order() -> None:
    # A test run in the background of a shell has interrupts ignored, and its children inherit that.
    heeding = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    run = run_script(HOLD, start_new_session=True, **heeding)
    assert run.stdout is not None
    pid, directory = run.stdout.readline().split()
    os.killpg(run.pid, signal.SIGINT)  # what the terminal does: everybody in the foreground gets it
    run.wait(30)
    assert_gone(int(pid), Path(directory))


HOLD = (
    f"with provision({KIND!r}, durable=False) as server:\n"
    "    print(server.pid, server.directory, flush=True)\n"
    "    time.sleep(60)"
)


def run_script(
    body: str, *, python: Path | None = None, home: Path | None = None, **arguments: object
) -> subprocess.Popen[str]:
    places = [str(Path(__file__).parents[2] / "src"), str(Path(psutil.__file__).parents[1])]
    script = "import time, psutil\nfrom pathlib import Path\nfrom eventmark.server import provision\n" + body
    return subprocess.Popen(
        [python or sys.executable, "-c", script],
        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(places), "HOME": str(home or Path.home())},
        **arguments,
    )  # type: ignore[call-overload, no-any-return]  # fmt: skip


def assert_gone(pid: int, directory: Path) -> None:
    deadline = time.monotonic() + 30
    while psutil.pid_exists(pid) or directory.exists():
        assert time.monotonic() < deadline, "the server or its files outlived the run"
        time.sleep(0.05)


def test_a_link_planted_in_a_kept_cluster_is_never_written_through(place: Path) -> None:
    directory, victim = place / "cluster", place / "victim"
    kept_cluster(directory)
    victim.write_text("not to be touched")
    planted = [directory / "data" / "postgresql.auto.conf", directory / "data" / ".postgresql.auto.conf.new"]
    for path in planted:
        path.unlink(missing_ok=True)
        path.symlink_to(victim)
    with provision(KIND, directory=directory, keep=True, durable=False) as second:
        assert fetch(second.dsn, "select 1") == 1
        assert not planted[0].is_symlink()
    assert victim.read_text() == "not to be touched"


@pytest.mark.parametrize("planted", ["server.log", "data/PG_VERSION", "data/postmaster.pid"])
def test_a_file_that_is_a_link_is_refused_not_followed(place: Path, planted: str) -> None:
    directory, victim = place / "cluster", place / "victim"
    kept_cluster(directory)
    victim.write_text("18")
    (directory / planted).unlink(missing_ok=True)
    (directory / planted).symlink_to(victim)
    with pytest.raises(CannotRunError, match="cannot"), provision(KIND, directory=directory, durable=False):
        pass
    assert victim.read_text() == "18"


def test_what_may_hold_data_is_its_owners_alone(place: Path) -> None:
    with provision(KIND, directory=place / "cluster", keep=True, durable=False) as started:
        assert started.directory is not None
        for name in ("server.log", "password", "data/postgresql.auto.conf"):
            assert (started.directory / name).stat().st_mode & 0o777 == 0o600


def test_a_stores_sql_runs_as_no_superuser_and_cannot_get_back_to_one(server: Server) -> None:
    store = store_dsn(server.admin_dsn)
    assert fetch(server.admin_dsn, "show is_superuser") == "on"
    assert fetch(store, "show is_superuser") == "off"
    for refused in (
        "copy (select 1) to program 'id'", "select pg_read_file('PG_VERSION')", "alter system set work_mem = '1GB'",
        "set session_replication_role = replica", "set role eventmark", "set session authorization eventmark",
        "reset role; reset session authorization; create role more superuser",
        "grant pg_execute_server_program to eventmark_store", "create extension file_fdw",
    ):  # fmt: skip
        with pytest.raises(asyncpg.PostgresError):
            execute(store, refused)
    execute(store, "checkpoint", "set wal_compression = on", "create schema own", "drop schema own")
