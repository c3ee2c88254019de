"""What is masked in texts, and what is left alone."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmark import redaction
from eventmark.redaction import (
    HIDDEN,
    UNREADABLE,
    guarded_output,
    looks_like_dsn,
    mask,
    redact_text,
    register,
)
from eventmark.results.files import without_secrets
from tests.results.test_files import run_result

SECRET = "s3cr3t/n@ver"


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(redaction, "_secrets", set())
    monkeypatch.setattr(redaction, "_public", set())
    redaction._masks.clear()
    yield
    redaction._masks.clear()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "no connection to postgresql://me:abc1@h:1/db: refused",
            "no connection to postgresql://me@h:1/db: refused",
        ),
        ("see 'postgresql://me:a/b@h/db', then", f"see '{UNREADABLE}"),
        ("see 'postgresql://me:a 'b c@h/db' then", f"see '{UNREADABLE}"),
        ("mysql://me:abc1@h/db", UNREADABLE),
        ("https://me:abc1@h/x", UNREADABLE),
        ("https://github.com/a/b@main is a page", "https://github.com/a/b@main is a page"),
        ("host=h password=abc1 user=me", f"host=h password={HIDDEN} user=me"),
        ("host=h password = 'a b\\' c' user=me", f"host=h password = {HIDDEN} user=me"),
        (
            "write postgresql://user:password@host:port/database",
            "write postgresql://user:password@host:port/database",
        ),
        (
            "first postgresql://a:b1@h/d\nthen postgresql://c@h/d",
            "first postgresql://a@h/d\nthen postgresql://c@h/d",
        ),
    ],
)
def test_dsns_in_a_text_lose_their_passwords_and_the_text_stays(text: str, shown: str) -> None:
    assert redact_text(text) == shown
    assert redact_text(shown) == shown


def test_a_registered_password_is_masked_however_it_is_written() -> None:
    secret = "a'b\"c\\d<é:/ @1"
    register(secret)
    import html
    import json
    import shlex

    for written in (
        secret,
        repr(secret)[1:-1],
        json.dumps(secret),
        quote(secret),
        html.escape(secret),
        shlex.quote(secret),
    ):
        assert secret[:4] not in mask(f"x {written} y").replace(HIDDEN, "") and HIDDEN in mask(
            f"x {written} y"
        )


@pytest.mark.parametrize("ordinary", ["abc", "postgres", "format_version", "54321", "1.5e3"])
def test_an_ordinary_word_is_masked_in_messages_and_left_in_documents(ordinary: str) -> None:
    register(ordinary)
    assert mask(f'"{ordinary}": 1') == f'"{ordinary}": 1'
    expected = ordinary if len(ordinary) < 4 else HIDDEN
    assert redact_text(f"got '{ordinary}'") == f"got '{expected}'"
    if ordinary.isidentifier():
        assert redact_text(f"x{ordinary}x") == f"x{ordinary}x"


def test_a_password_that_equals_the_users_name_is_shown_as_the_name() -> None:
    register("postgres", public=("postgres",))
    assert redact_text("postgresql://postgres:postgres@h/d") == "postgresql://postgres@h/d"


def test_all_that_is_written_meanwhile_is_guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    register(SECRET)
    with guarded_output():
        print(f"out {SECRET}")
        sys.stderr.writelines([f"err {quote(SECRET, safe='')}\n"])
    assert (out.getvalue(), err.getvalue()) == (f"out {HIDDEN}\n", f"err {HIDDEN}\n")
    assert sys.stdout is out


def test_a_result_holds_no_password_in_any_text_or_key() -> None:
    import msgspec

    register(SECRET)
    result = msgspec.structs.replace(
        run_result(),
        command=f"eventmark run --server {SECRET}",
        skipped={SECRET: "postgresql://u:abc1@h/d"},
    )
    clean = without_secrets(result)
    assert clean.command == f"eventmark run --server {HIDDEN}"
    assert clean.skipped == {HIDDEN: "postgresql://u@h/d"}
    assert msgspec.structs.replace(clean, command="", skipped={}) == msgspec.structs.replace(
        result, command="", skipped={}
    )


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://h/d", "postgres://u:p@h", "postgresql+asyncpg://u:p@h/d", "jdbc:postgresql://h/d?user=u", "mysql://h",
        "host=h password=x", "password = 'x'", "me:secret@host/db", "x=postgresql://u:p@h", "https://u:p@h",
    ],
)  # fmt: skip
def test_what_may_hold_a_password_is_known(text: str) -> None:
    assert looks_like_dsn(text)


@pytest.mark.parametrize(
    "text",
    [
        "embedded",
        "./my-store",
        "append=70,load=30",
        "server:work_mem=4MB",
        "HEAD~1",
        "git@github.com:a/b",
        "https://github.com/a/b",
        "main@{1}",
        "1M",
    ],
)
def test_what_is_no_dsn_is_not_taken_for_one(text: str) -> None:
    assert not looks_like_dsn(text)


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_redaction_is_stable(text: str) -> None:
    once = redact_text(f"got postgresql://me:{text}@h/d and more")
    assert redact_text(once) == once
