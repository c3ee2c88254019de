"""Targets: the defaults, files over them, and refusals that name file, key and what was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventmark.errors import UsageError
from eventmark.measure.targets import DEFAULT_TARGETS, Target, read_targets, targets_from


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


def test_file_is_laid_over_the_defaults_in_both_forms(tmp_path: Path) -> None:
    path = file_with(
        tmp_path,
        '["append_events[1]"]\nquantile = "p99"\nlimit_ms = 12.5\n'
        '[targets]\n"load_aggregate[1000]" = 30\nread_snapshot = { quantile = "p999" }\n',
    )
    targets = read_targets(path)
    assert targets["append_events[1]"] == Target("p99", 12.5)
    assert targets["load_aggregate[1000]"] == Target("p95", 30.0)
    assert targets["read_snapshot"] == Target("p999", 5.0)
    changed = {"append_events[1]", "load_aggregate[1000]", "read_snapshot"}
    assert all(targets[name] == target for name, target in DEFAULT_TARGETS.items() if name not in changed)


def test_empty_file_gives_the_defaults_and_leaves_them_alone(tmp_path: Path) -> None:
    targets = read_targets(file_with(tmp_path, "\ufeff# saved by an editor that writes a byte order mark\n"))
    assert targets == DEFAULT_TARGETS
    targets.clear()
    assert DEFAULT_TARGETS


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('[targets]\n"append_event[1]" = 10', ['"append_event[1]"', 'did you mean "append_events[1]"']),
        ("[read_snapshots]\nlimit_ms = 3", ['"read_snapshots"', 'did you mean "read_snapshot"']),
        ("[targets]\nxyz = 3", ['"xyz"', "one of append_events[1]"]),
        ("[read_snapshot]\nlimit = 3", ['"read_snapshot"', "'limit'", 'did you mean "limit_ms"']),
        ("[read_snapshot]\nlimit_ms = 0", ['"read_snapshot": limit_ms', "above 0"]),
        ("[targets]\nread_snapshot = -1", ['"read_snapshot"', "-1"]),
        ("[targets]\nread_snapshot = nan", ['"read_snapshot"', "nan"]),
        ("[targets]\nread_snapshot = inf", ['"read_snapshot"', "inf"]),
        ("[targets]\nread_snapshot = true", ['"read_snapshot"', "True"]),
        ('[targets]\nread_snapshot = "5"', ['"read_snapshot"', "'5'"]),
        ("[targets]\nread_snapshot = []", ['"read_snapshot"', "[]"]),
        ("[targets]\nread_snapshot = 1" + "0" * 400, ['"read_snapshot"', "above 0"]),
        ('[read_snapshot]\nquantile = "p90"', ['"read_snapshot": quantile', "'p90'", "p50, p95, p99, p999"]),
        ("[read_snapshot]\nquantile = ['p95']", ['"read_snapshot": quantile', "p50, p95, p99, p999"]),
        ("targets = 5", ["targets", "not a table"]),
        ("read_snapshot = 5\n[targets]\nread_snapshot = 6", ['"read_snapshot"', "twice"]),
        ("[targets]\nappend_events[1] = 10", ["line 2", '"append_events[1]"']),
        (b"[targets]\nread_snapshot = 5 # \xff", ["UTF-8"]),
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
        with pytest.raises(UsageError, match=r"cannot read .*" + path.name):
            read_targets(path)


def test_mapping_of_another_file_is_read_the_same_way() -> None:
    targets = targets_from({"read_snapshot": 7, "compare_tokens": {"limit_ms": 2}}, "eventmark.toml")
    assert targets["read_snapshot"] == Target("p95", 7.0) and targets["compare_tokens"].limit_ms == 2.0
    with pytest.raises(UsageError, match=r'^store\.toml: "compare_token": no such operation \(did you mean'):
        targets_from({"compare_token": 7}, "store.toml")
