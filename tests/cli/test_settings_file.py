"""The settings file: every flag is a key, a verb's table is its own, and every mistake is named."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest

from eventmark.cli.main import _VERBS, VERBS, app, run_command
from eventmark.cli.settings_file import SHARED, flags_of, settings_file
from eventmark.errors import UsageError

TRIED: dict[type, Callable[[int], Any]] = {
    bool: lambda _: True, int: int, float: lambda number: number + 0.5, str: str
}  # fmt: skip


@cache
def flags_with_types(verb: str) -> list[list[tuple[str, type]]]:
    """Of each argument of a verb that takes a value of one of the types above, the names it has."""
    if (command := app[verb]).default_command is None:
        return []
    arguments = command.assemble_argument_collection()
    return [
        [(key, kind) for key in flags_of([argument])]
        for argument in arguments
        for kind in TRIED
        if kind is argument.hint or kind in getattr(argument.hint, "__args__", ())
    ]


@pytest.fixture(autouse=True)
def no_settings_afterwards() -> Iterator[None]:
    yield
    app.config = ()


def bound(verb: str, content: str, place: Path, *words: str) -> dict[str, Any]:
    """A verb's arguments by a settings file and words, as the function gets them; options of groups among them."""
    (place / "eventmark.toml").write_text(content)
    words = (verb, *words)
    with contextlib.chdir(place):
        found = settings_file(words, app, VERBS)
    assert found is not None
    app.config = (found,)
    _, arguments, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    flat: dict[str, Any] = {}
    for name, value in arguments.arguments.items():
        flat |= vars(value) if hasattr(value, "__dataclass_fields__") else {name: value}
    return flat


@pytest.mark.parametrize("verb", VERBS)
def test_every_flag_is_a_key_of_its_verbs_table(verb: str, tmp_path: Path) -> None:
    """All at once, each with a value of its own; an argument of two names by the one and then by the other."""
    for named in zip_longest(*flags_with_types(verb)):
        own = {flag[0]: TRIED[flag[1]](number) for number, flag in enumerate(named, 1000) if flag}
        lines = [f"{key} = {json.dumps(value)}\n" for key, value in own.items()]
        given = list(bound(verb, "".join([f"[{verb}]\n", *lines]), tmp_path, *required(verb)).values())
        for key, value in own.items():
            assert value in given, key
            given.remove(value)


def required(verb: str) -> tuple[str, ...]:
    """Arguments without which a verb cannot be called."""
    return {"compare": ("a.json", "b.json"), "report": ("a.json",)}.get(verb, ())


def test_there_are_flags_to_be_tried() -> None:
    keys = [key for verb in VERBS for named in flags_with_types(verb) for key, _ in named]
    assert len(keys) > 200
    assert {"rate", "group", "cliffs", "recent", "across_schemas"} <= set(keys)


def test_one_key_is_what_its_verb_means_by_it_and_nothing_to_others(tmp_path: Path) -> None:
    content = "[soak]\nrate = 300\n[load]\nrate = 40\n"
    rates = {
        verb: bound(verb, content, tmp_path).get("rate") for verb in ("soak", "load", "isolate", "capacity")
    }
    assert rates == {"soak": 300, "load": 40, "isolate": None, "capacity": None}


def test_a_shared_key_is_everybodys_a_table_wins_over_it_and_a_flag_over_both(tmp_path: Path) -> None:
    content = 'events = "50k"\nmetrics-port = 9000\n[load]\nevents = "60k"\n'
    assert bound("soak", content, tmp_path)["events"] == "50k"
    assert bound("soak", content, tmp_path)["metrics_port"] == 9000
    assert bound("load", content, tmp_path)["events"] == "60k"
    assert bound("load", content, tmp_path, "--events", "70k")["events"] == "70k"


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (
            "rate = 300",
            r"'rate' belongs to single verbs: it is a key of \[load\], \[capacity\], \[soak\], \[isolate\]",
        ),
        ('event = "50k"', "did you mean 'events'"),
        ("seed = true", "seed must be a whole number, got True"),
        ("keep = 1", "keep must be true or false, got 1"),
        ("events = [1]", "events must be a text"),
        ("[lod]\nrate = 1", "did you mean 'load'"),
        ("[load]\nrates = 1", r"\[load\] has an unknown key 'rates', did you mean 'rate'"),
        ('[load]\nrate = "x"', r"\[load\] rate must be a whole number"),
        ("= broken", "not TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_the_key(content: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=named):
        bound("load", content + "\n", tmp_path)


def test_a_missing_file_is_refused_when_it_was_named(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(["load", "--config", "none.toml"]) == 2
    assert "none.toml cannot be read" in " ".join(capfd.readouterr().err.split())


def test_shared_keys_are_those_of_the_options_that_verbs_share() -> None:
    assert {"events", "server", "profile", "out"} <= set(SHARED)
    assert all(
        import_module(f"eventmark.cli.{place.partition(':')[0]}")
        for verbs in _VERBS.values()
        for place in verbs
    )
