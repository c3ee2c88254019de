"""targets, and --target: what may be asked of each operation, and what is asked of it in this run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from eventmark.operations.catalogue import OPERATIONS
from eventmark.operations.existing import READING
from eventmark.results.targets import DEFAULT_TARGETS, NAMES
from eventmark.stores import write_template
from tests.cli.conftest import Command


def test_whatever_may_have_a_target_is_an_operation_and_all_of_a_corpus_have_one() -> None:
    assert set(DEFAULT_TARGETS) == set(OPERATIONS)
    assert set(NAMES) <= set(READING)


def row(out: str, name: str) -> list[str]:
    line = next(line for line in out.splitlines() if line.startswith(f"{name} "))
    cells = re.split(r"\s{2,}", line.strip())
    return cells + [""] * (4 - len(cells))


def test_targets_are_listed_with_who_set_them(command: Command, tmp_path: Path) -> None:
    write_template(tmp_path / "own")
    toml = tmp_path / "own" / "store.toml"
    head = toml.read_text().partition("[targets]")[0]
    toml.write_text(head + '[targets]\n"read_snapshot" = 3\n"append_events[1]" = 4\n')
    (tmp_path / "mine.toml").write_text('[targets]\n"append_events[1]" = 5\n"append_events[10]" = 6\n')
    done = command(
        "targets", "--store", "./own", "--targets", "mine.toml", "--target", "append_events[10]=p99<7ms",
        "--target", "orders.sql=p99<8ms",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert row(done.out, "read_snapshot")[2:] == ["p95 < 3 ms", "own/store.toml"]
    assert row(done.out, "append_events[1]")[2:] == ["p95 < 5 ms", "mine.toml"]
    assert row(done.out, "append_events[10]")[2:] == ["p99 < 7 ms", "--target"]
    assert row(done.out, "orders.sql")[2:] == ["p99 < 8 ms", "--target"]
    assert row(done.out, "create_head_token")[2:] == ["p95 < 1 ms", "default"]
    assert row(done.out, "load_aggregate[longest]")[2:] == ["none", ""]


def test_what_a_store_lacks_has_no_target(command: Command, tmp_path: Path) -> None:
    write_template(tmp_path / "own")
    (tmp_path / "own" / "read_snapshot.sql").unlink()
    (tmp_path / "own" / "store_snapshot.sql").unlink()
    done = command("targets", "--store", "./own")
    assert row(done.out, "read_snapshot")[2].startswith("not measured: ")


@pytest.mark.parametrize("verb", ["run", "bench", "load", "certify", "targets"])
def test_a_target_of_an_unknown_operation_ends_every_verb_before_a_server_is_asked(
    verb: str, command: Command
) -> None:
    where = () if verb == "targets" else ("--server", "postgresql://nobody@127.0.0.1:1/none")
    done = command(verb, "--target", "append_event[1]=p99<5ms", *where)
    assert done.code == 2
    assert "unknown operation 'append_event[1]', did you mean 'append_events[1]'?" in done.err


def test_targets_of_the_command_line_and_of_the_settings_file_decide_a_load(
    command: Command, database: str
) -> None:
    Path("eventmark.toml").write_text('target = ["read_snapshot=p50<1us", "compare_tokens=1s"]\n')
    flags = ("--events", "20k", "--profile", "quick", "--server", database, "--mix", "read_snapshot=1")
    done = command("load", *flags, "--rate", "20", "--seconds", "2", "--json")
    found = json.loads(done.out)["operations"]["read_snapshot"]
    assert (found["target_quantile"], found["target_ms"]) == ("p50", 0.001), done.err
    assert found["verdict"] != "MET"
    done = command("load", *flags, "--stages", "1s:40,1s:0", "--json", "--target", "read_snapshot=p99<2s")
    result = json.loads(done.out)
    found = result["operations"]["read_snapshot"]
    assert (found["target_quantile"], found["target_ms"]) == ("p99", 2000.0), done.err
    tables = [table for one in result["sections"] if one["name"] == "load" for table in one["tables"]]
    stages = next(one for one in tables if one["title"].startswith("By stage"))
    assert [row[:3] for row in stages["rows"]] == [["1", 1.0, "0 to 40"], ["2", 1.0, "40 to 0"]]
    assert sum(row[1] * row[3] for row in stages["rows"]) == found["samples"] > 10


def test_targets_in_a_settings_file_where_a_verbs_keys_belong_are_refused_by_every_verb(
    command: Command,
) -> None:
    Path("eventmark.toml").write_text('[targets]\n"append_events[1]" = 5\n')
    done = command("run")
    assert done.code == 2
    assert "'append_events[1]' is none of its keys" in done.err
