"""Files as people save them are read, or refused by line, wherever a person's text file is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from eventmark.cli.settings_file import _read as read_settings
from eventmark.engine.statements import read_statement
from eventmark.errors import EventmarkError
from eventmark.results.targets import read_targets
from eventmark.stores.catalogue import write_template
from eventmark.stores.definition import read_definition
from eventmark.text_files import NotTextError, read_text

MARK = b"\xef\xbb\xbf"
WRONG = {
    "UTF-16": ("a\n".encode("utf-16"), 1, "the file is UTF-16"),
    "UTF-32": ("a\n".encode("utf-32"), 1, "the file is UTF-32"),
    "Latin-1": ("one\r\ntwo\rgr\u00fcn\n".encode("latin-1"), 3, "byte 0xfc is not UTF-8"),
    "NUL": (b"one\ntwo\0\n", 2, "NUL"),
}


def written(path: Path, raw: bytes) -> Path:
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("raw", [b"a\nb\n", MARK + b"a\nb\n", b"a\r\nb\r\n", b"a\rb\r"], ids=repr)
def test_marks_and_line_ends_of_every_system_are_read(tmp_path: Path, raw: bytes) -> None:
    assert read_text(written(tmp_path / "file", raw)) == "a\nb\n"


@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_text_is_refused_by_line(tmp_path: Path, what: str) -> None:
    raw, line, message = WRONG[what]
    with pytest.raises(NotTextError, match=message) as refused:
        read_text(written(tmp_path / "file", raw))
    assert refused.value.line == line


STATEMENT = b"-- parameters: tenant_id text\nselect :tenant_id\n"
READERS: dict[str, tuple[Callable[[Path], object], bytes]] = {
    "a statement": (read_statement, STATEMENT),
    "targets": (read_targets, b"[targets]\n'append_events[1]' = 5\n"),
    "settings": (read_settings, b"[soak]\nrate = 5\n"),
}


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_takes_a_byte_order_mark(tmp_path: Path, reader: str) -> None:
    read, content = READERS[reader]
    plain = written(tmp_path / "file", content)
    before = read(plain)
    assert read(written(plain, MARK + content.replace(b"\n", b"\r\n"))) == before


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("what", WRONG)
def test_every_reader_refuses_what_is_no_text_with_a_clear_error(
    tmp_path: Path, reader: str, what: str
) -> None:
    with pytest.raises(EventmarkError, match=WRONG[what][2]):
        READERS[reader][0](written(tmp_path / "file", WRONG[what][0]))


def test_a_store_saved_with_marks_is_the_same_store(tmp_path: Path) -> None:
    write_template(tmp_path / "shop")
    before = read_definition(tmp_path / "shop")
    for path in (tmp_path / "shop").iterdir():
        written(path, MARK + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_definition(tmp_path / "shop") == before


@pytest.mark.parametrize("name", ["store.toml", "schema.sql", "append_events.sql"])
@pytest.mark.parametrize("what", WRONG)
def test_a_file_of_a_store_that_is_no_text_is_named_with_its_line(
    tmp_path: Path, name: str, what: str
) -> None:
    write_template(tmp_path / "shop")
    raw, line, message = WRONG[what]
    written(tmp_path / "shop" / name, raw)
    with pytest.raises(EventmarkError, match=f"{name}:{line}: .*{message}"):
        read_definition(tmp_path / "shop")
