"""Targets: the defaults, files over them, and refusals that name file, key and what was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventmark.errors import UsageError
from eventmark.results.targets import DEFAULT_TARGETS, Target, parse_targets, read_targets, targets_from


def file_with(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "targets.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_defaults_are_the_limits_promised() -> None:
    assert {target.quantile for target in DEFAULT_TARGETS.values()} == {"p95"}
    assert {name: target.limit_ms for name, target in DEFAULT_TARGETS.items()} == {
        "append_events[1]": 10, "append_events[10]": 20, "append_events[100]": 50, "load_aggregate[1000]": 20,
        "stream_events[1000]": 50, "store_snapshot": 10, "read_snapshot": 5, "create_head_token": 1,
        "create_tail_token": 1, "create_token_at": 1, "compare_tokens": 1,
    }  # fmt: skip


def test_file_names_its_own_targets_alone_so_that_they_can_be_laid_over_a_stores(tmp_path: Path) -> None:
    path = file_with(
        tmp_path,
        '[targets]\n"load_aggregate[1000]" = 30\n'
        'read_snapshot = { quantile = "p999", limit_ms = 7 }\ncompare_tokens = { limit_ms = 0.5 }\n',
    )
    changed = {
        "load_aggregate[1000]": Target("p95", 30.0),
        "read_snapshot": Target("p999", 7.0),
        "compare_tokens": Target("p95", 0.5),
    }
    assert read_targets(path) == changed


def test_empty_file_changes_no_target(tmp_path: Path) -> None:
    assert read_targets(file_with(tmp_path, "\ufeff# saved by an editor that begins with a mark\n")) == {}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[targets]\nread_snapshots = 3", ["'read_snapshots'", "did you mean 'read_snapshot'"]),
        ("[targets]\nxyz = 3", ["'xyz'", "operations are append_events[1]"]),
        ("[targets]\nread_snapshot = { limit = 3 }", ["read_snapshot", "limit_ms"]),
        ("[targets]\nread_snapshot = { limit_ms = 0 }", ["read_snapshot", "above 0", "got 0"]),
        ("[targets]\nread_snapshot = -1", ["read_snapshot", "got -1"]),
        ("[targets]\nread_snapshot = nan", ["read_snapshot", "got nan"]),
        ("[targets]\nread_snapshot = inf", ["read_snapshot", "got inf"]),
        ("[targets]\nread_snapshot = true", ["read_snapshot", "got True"]),
        ("[targets]\nread_snapshot = []", ["read_snapshot", "got []"]),
        ("[targets]\nread_snapshot = 1" + "0" * 400, ["read_snapshot", "at most 120000"]),
        ("[targets.read_snapshot]\nlimit_ms = 1\nquantile = 'p90'", ["read_snapshot", "'p90'", "p50, p95"]),
        ("[targets.read_snapshot]\nlimit_ms = 1\nquantile = ['p95']", ["read_snapshot", "p50, p95"]),
        ("targets = 5", ["targets must be a table"]),
        ("[targets]\nappend_events[1] = 10", ["line 2"]),
        (b"[targets]\nread_snapshot = 5 # \xff", ["cannot be read"]),
    ],
)
def test_wrong_file_is_refused_naming_file_and_place(
    tmp_path: Path, text: str | bytes, named: list[str]
) -> None:
    path = file_with(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        read_targets(path)
    assert str(path) in str(caught.value)
    for part in named:
        assert part in str(caught.value)


def test_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.toml"):
        with pytest.raises(UsageError, match=path.name):
            read_targets(path)


def test_mapping_of_another_file_gives_its_own_targets_only() -> None:
    targets = targets_from({"read_snapshot": 7, "compare_tokens": {"limit_ms": 2}}, "eventmark.toml")
    assert targets == {"read_snapshot": Target("p95", 7.0), "compare_tokens": Target("p95", 2.0)}
    with pytest.raises(UsageError, match=r"^store\.toml: unknown operation 'compare_token'"):
        targets_from({"compare_token": 7}, "store.toml")


def test_targets_in_words_have_a_quantile_a_limit_and_its_unit_and_the_last_of_a_name_holds() -> None:
    words = [
        "read_snapshot=p99<3ms", "append_events[1] = p999 < 1.5 s", "compare_tokens=250us", "read_snapshot=p50<2ms",
        "load_aggregate[longest]=80ms", "orders.sql=p99<20ms",
    ]  # fmt: skip
    assert parse_targets(words) == {
        "read_snapshot": Target("p50", 2.0),
        "append_events[1]": Target("p999", 1500.0),
        "compare_tokens": Target("p95", 0.25),
        "load_aggregate[longest]": Target("p95", 80.0),
        "orders.sql": Target("p99", 20.0),
    }


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("append_event[1]=p99<5ms", ["'append_event[1]'", "did you mean 'append_events[1]'"]),
        ("", ["unknown operation ''", "operations are append_events[1]"]),
        ("read_snapshot", ["the target of read_snapshot", "got 'read_snapshot'"]),
        ("read_snapshot=p99>5ms", ["the target of read_snapshot"]),
        ("read_snapshot=p99<5", ["the target of read_snapshot", "us, ms or s"]),
        ("read_snapshot=p99<5h", ["the target of read_snapshot", "us, ms or s"]),
        ("read_snapshot=p99<-5ms", ["the target of read_snapshot"]),
        ("read_snapshot=p99<0ms", ["the target of read_snapshot", "above 0"]),
        ("read_snapshot=p99<121s", ["the target of read_snapshot", "at most 120000"]),
        ("read_snapshot=p90<5ms", ["'p90' of read_snapshot", "p50, p95, p99, p999"]),
    ],
)
def test_wrong_words_are_refused_naming_the_operation(words: str, named: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        parse_targets([words])
    shown = str(caught.value)
    assert "--target" in shown
    for part in named:
        assert part in shown
