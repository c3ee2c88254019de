"""Documents that are no JSON objects end in a typed error; odd but good ones are kept as they are."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from eventmark.domain import SequenceNumber, Snapshot
from eventmark.engine import PostgresEventStore
from eventmark.engine.encoding import encoded_document
from eventmark.engine.payloads import STORAGE
from eventmark.errors import InvalidEventError
from eventmark.server import Server
from tests.engine.builders import append_refused, new_event, stream_of
from tests.engine.conftest import install, new_database


def _deep(depth: int, *, lists: bool = False) -> Any:
    document: Any = 1
    for _ in range(depth):
        document = [document] if lists else {"a": document}
    return {"a": document}


def _cyclic() -> dict[str, Any]:
    document: dict[str, Any] = {}
    document["self"] = [document]
    return document


REFUSED_DOCUMENTS = {
    "an escaped zero character": {"a": "\u0000"},
    "an escaped zero character in a key": {"\u0000": 1},
    "an escaped zero character as text": r'{"a": "\u0000"}',
    "a raw zero character": '{"a": "\0"}',
    "a lone high surrogate": {"a": "\ud800"},
    "a lone low surrogate": {"a": "x\udfff"},
    "a lone surrogate in a key": {"\ud800": 1},
    "a lone surrogate as text": '{"a": "\ud800"}',
    "an escaped lone surrogate as text": r'{"a": "\ud800"}',
    "a surrogate pair the wrong way round": r'{"a": "\ude00\ud83d"}',
    "not a number": {"a": float("nan")},
    "infinity": {"a": float("inf")},
    "minus infinity": {"a": [float("-inf")]},
    "not a number as text": '{"a": NaN}',
    "infinity as text": '{"a": -Infinity}',
    "10,000 objects deep": _deep(10_000),
    "10,000 lists deep": _deep(10_000, lists=True),
    "501 lists deep as text": '{"a": ' + "[" * 500 + "]" * 500 + "}",
    "10,000 objects deep as text": '{"a":' * 10_000 + "1" + "}" * 10_000,
    "10,000 lists deep as text": '{"a": ' + "[" * 10_000 + "]" * 10_000 + "}",
    "a million lists deep as text": '{"a": ' + "[" * 1_000_000 + "]" * 1_000_000 + "}",
    "a string without an end, full of quotes": '{"a": ' + "{" * 600 + '"' + '\\"' * 500_000 + "\\",
    "an object that holds itself": _cyclic(),
    "bytes": {"a": b"x"},
    "a set": {"a": {1}},
    "a decimal": {"a": Decimal("1.5")},
    "a date and time": {"a": datetime.now(UTC)},
    "a UUID": {"a": uuid4()},
    "an object of no JSON type": {"a": object()},
    "a key that is an int": {1: "a"},
    "a key that is None": {"a": {None: 1}},
    "a key that is a bool, in a list": {"a": [[{True: 1}]]},
    "a key that is a tuple": {(1, 2): 1},
    "a key twice": '{"a": 1, "a": 2}',
    "a key twice, written in two ways": r'{"a": 1, "\u0061": 2}',
    "a key twice, deep in lists": '{"a": [[{"b": {"c": 1, "d": 2, "c": 3}}]]}',
    "a key twice, with a value that is none": '{"a": NaN, "a": 1}',
    "a key twice, far down": '{"a": ' + "[" * 300 + '{"b": 1, "b": 2}' + "]" * 300 + "}",
    "a key twice, beside a long number": '{"n": ' + "9" * 5_000 + ', "a": 1, "a": 2}',
    "no UTF-8": b'{"a": "\xff"}',
    "no UTF-8, read as if it were": b'{"a": "\xff"}'.decode(errors="surrogateescape"),
    "a top-level list": "[1]",
    "a top-level text": '"a"',
    "a top-level number": "1",
    "a top-level null": "null",
    "an empty text": "",
    "blanks": "  ",
    "no JSON": "{a: 1}",
    "an end missing": '{"a": 1',
    "more after the end": '{"a": 1} {}',
    "a comma too many": '{"a": 1,}',
    "single quotes": "{'a': 1}",
    "a comment": '{"a": 1 /* one */}',
    "a control character": '{"a": "\x1b"}',
    "a byte order mark": '\ufeff{"a": 1}',
    "a number of 200,000 digits": '{"a": ' + "9" * 200_000 + "}",
    "an exponent beyond numeric": '{"a": 1e999999}',
    "a number that is written out in 131,072 digits": '{"a": 1e131071}',
    "9,000 such numbers": '{"a": [' + ",".join(["1E+131071"] * 9_000) + "]}",
    "a number of many digits before its exponent": '{"a" : -' + "9" * 100 + ".5e4300}",
    "such a number among UUIDs": json.dumps({"a": [str(uuid4()) for _ in range(50)]})[:-1] + ', "b": 1e9999}',
    "fractions that are written out in 16,385 digits, 9,000 times": '{"a": ['
    + ",".join(["1e-16383"] * 9_000)
    + "]}",
    "floats that are written out in 303 digits, 100,000 times": {"a": [1e300] * 100_000},
    "an integer of more digits than decoders read": '{"a": ' + "9" * 4_301 + "}",
    "an exponent beyond doubles": '{"a": 1.8e308}',
    "a number beyond doubles for its many digits": '{"a": ' + "9" * 210 + "e99}",
    "more digits behind the point than the server's numbers have": '{"a": 0.' + "1" * 16_384 + "}",
    "the same by an exponent": '{"a": 1.5e-16383}',
    "half a surrogate pair among whole ones": r'{"a": "\ud83d\ude00\ud83d"}',
    "an escaped zero character in a text's key": r'{"\u0000": 1}',
    "a fraction beyond doubles": '{"a": ' + "9" * 309 + ".5}",
    "separators that the server writes with a blank": '{"a": [' + "0," * (6 * 2**20) + "0]}",
    "an int beyond Python's own limit": {"a": 10**5000},
    "a Python list": [1],
    "None": None,
    "Python bytes": b"{}",
    "a Python int": 1,
    "more bytes than the limit, in fewer characters": '{"a": "' + "😀" * (4 * 2**20) + '"}',
    "more than the limit": '{"a": "' + "x" * (16 * 2**20) + '"}',
}


of_both_types = pytest.mark.parametrize("payload_type", STORAGE)


@pytest.fixture(scope="module")
def typed_dsns(server: Server) -> Iterator[dict[str, str]]:
    """The DSNs of stores that the module's tests share, one for each type of payloads."""
    with ExitStack() as stack:
        made = {name: stack.enter_context(contextmanager(new_database)(server)) for name in STORAGE}
        for name, dsn in made.items():
            asyncio.run(install(dsn, payload=name))
        yield made


@pytest.fixture
async def typed_store(typed_dsns: dict[str, str], payload_type: str) -> AsyncIterator[PostgresEventStore]:
    """A store with payloads of the ``payload_type`` that the test is parametrised with."""
    async with await PostgresEventStore.connect(typed_dsns[payload_type], notify=False) as opened:
        yield opened


LONG_TO_READ = ("a million lists deep as text", "separators that the server writes with a blank")


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(document, id=name, marks=[pytest.mark.long] * (name in LONG_TO_READ))
        for name, document in REFUSED_DOCUMENTS.items()
    ],
)
async def test_a_document_that_is_no_json_object_is_refused(
    common_store: PostgresEventStore, tenant: str, document: Any
) -> None:
    error = await append_refused(common_store, tenant, [new_event(payload=document)])
    assert len(str(error)) < 500
    await append_refused(common_store, tenant + "-m", [new_event(), new_event(metadata=document)])
    snapshot = Snapshot(
        stream=stream_of("after", tenant_id=tenant), sequence_number=SequenceNumber(1), payload=document,
        payload_type="S", timestamp=datetime.now(UTC),
    )  # fmt: skip
    with pytest.raises(InvalidEventError):
        await common_store.store_snapshot(snapshot)
    assert await common_store.read_snapshot(tenant, "after") is None


def _reaches_the_server(document: Any) -> bool:
    try:
        encoded_document(document, "payload")
    except InvalidEventError:
        return False
    return True


@of_both_types
async def test_what_is_left_to_the_server_is_refused_by_it_whatever_the_type(
    typed_store: PostgresEventStore, tenant: str
) -> None:
    cheap = {
        name: one for name, one in REFUSED_DOCUMENTS.items() if isinstance(one, str) and len(one) < 10_000
    }
    left = [name for name, document in cheap.items() if _reaches_the_server(document)]
    assert len(left) > 8
    for number, name in enumerate(left):
        error = await append_refused(typed_store, f"{tenant}-{number}", [new_event(payload=cheap[name])])
        assert len(str(error)) < 500, name


KEPT_DOCUMENTS: dict[str, dict[str, Any]] = {
    "empty": {},
    "integers beyond doubles": {"a": [2**53 + 1, 2**63, 2**64 + 1, -(2**53) - 1, 10**30 + 1]},
    "floats": {"a": [0.1, 1e-300, 1e22, 5e-324, 2.0, -1.5, -0.0]},
    "scalars": {"null": None, "true": True, "false": False, "zero": 0, "text": ""},
    "an empty key": {"": {"": []}},
    "markup": {"a": "<script>alert('x')</script>&amp;]]>"},
    "terminal escapes": {"a": "\x1b[31mred\x1b[0m\x07\x08\r\n\t"},
    "Unicode": {"ключ": "日本語 👩‍👩‍👧 \u202e\ufeff\uffff \U0010ffff", "é": 1, "e\u0301": 2},
    "delimiters": {"a": "'; drop table x; -- %s {} :name $1 \\ \" `"},
    "large": {"a": "x" * 1_000_000},
    "wide": {str(number): number for number in range(5_000)},
    "deep": _deep(499),
    "brackets in strings": {"a": '[{"\\' * 600, "b": "\\"},
    "many brackets": {"a": [{"b": [number]} for number in range(400)]},
    "a tuple": {"a": [1, [2]]},
    "keys alike in objects apart": {"a": {"a": [{"a": 1}, {"a": 1}]}, "A": 1, "a ": 2, "á": 3, "a\u0301": 4},
    "text that looks like keys": {"a": '"a":1,"a":2', "b": '{"a":1,"a":2}'},
}


@of_both_types
@pytest.mark.parametrize("document", KEPT_DOCUMENTS.values(), ids=KEPT_DOCUMENTS.keys())
async def test_a_json_object_is_kept_given_as_dict_or_as_text(
    typed_store: PostgresEventStore, tenant: str, document: dict[str, Any]
) -> None:
    given: Sequence[dict[str, Any] | str] = [document, json.dumps(document), json.dumps(document, indent=1)]
    events = [new_event(payload=form, metadata=form) for form in given]
    await typed_store.append_events(stream_of(tenant_id=tenant), events, expected_version=0)
    for event in await typed_store.load_aggregate(tenant, "a-1"):
        assert event.payload() == event.metadata() == document
        assert json.loads(event.payload_json) == document


@of_both_types
@pytest.mark.parametrize(
    "number",
    [
        "1.7976931348623157e308",
        "-1E+308",
        "1.5e-400",
        "1e-16383",
        "9" * 4_300,
        "9" * 308 + ".5",
        "0." + "1" * 5_000,
        "1e0000000005",
    ],
    ids=lambda number: number[:12],
)
async def test_a_number_that_is_kept_can_be_read_again(
    typed_store: PostgresEventStore, tenant: str, number: str
) -> None:
    text = f'{{"a": [{number}, "{uuid4()}", ":9e131071,", "{"9" * 5_000}"]}}'
    events = [new_event(payload=text, metadata=text)]
    await typed_store.append_events(stream_of(tenant_id=tenant), events, expected_version=0)
    (event,) = await typed_store.load_aggregate(tenant, "a-1")
    expected = Decimal(number)
    for decoded in (event.payload(), event.metadata(), json.loads(event.payload_json)):
        read, *others = decoded["a"]
        assert read == (int(expected) if isinstance(read, int) else float(expected))
        assert others == json.loads(text)["a"][1:]


async def test_an_int_of_a_process_without_a_limit_is_refused(
    common_store: PostgresEventStore, tenant: str
) -> None:
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        error = await append_refused(common_store, tenant, [new_event(payload={"a": 10**5000})])
    finally:
        sys.set_int_max_str_digits(limit)
    assert "4300 digits" in str(error)


@of_both_types
async def test_a_document_is_the_one_the_server_itself_makes_of_the_text(
    typed_store: PostgresEventStore, payload_type: str, tenant: str
) -> None:
    text = '{"b":1.50, "a" : [ 1e2, 12345678901234567890.123, "\\u00e9\\n" ],"c":-0.0}'
    await typed_store.append_events(
        stream_of(tenant_id=tenant), [new_event(payload=text)], expected_version=0
    )
    session = await typed_store.pool.acquire()
    expected = await session.connection.fetchval(f"select $1::text::{payload_type}::text", text)
    typed_store.pool.release(session)
    (event,) = await typed_store.load_aggregate(tenant, "a-1")
    assert event.payload_json == expected
    assert (event.payload_json == text) == (payload_type == "json")


@pytest.mark.long
async def test_a_batch_of_more_than_the_server_takes_in_one_message_is_refused(
    common_store: PostgresEventStore, tenant: str
) -> None:
    large = '{"a": "' + "x" * (15 * 2**20) + '"}'
    error = await append_refused(common_store, tenant, [new_event(payload=large) for _ in range(80)])
    assert "characters" in str(error)


@pytest.mark.long
async def test_a_document_of_more_than_a_gigabyte_is_refused(
    common_store: PostgresEventStore, tenant: str
) -> None:
    error = await append_refused(common_store, tenant, [new_event(payload='{"a": "' + "x" * 2**30 + '"}')])
    assert "at most" in str(error)


async def test_a_document_as_large_as_the_limit_is_kept(
    common_store: PostgresEventStore, tenant: str
) -> None:
    text = '{"a": "' + "é" * (8 * 2**20 - 5) + '"}'
    assert len(text.encode()) == 16 * 2**20 - 1
    await common_store.append_events(
        stream_of(tenant_id=tenant), [new_event(payload=text)], expected_version=0
    )
    (event,) = await common_store.load_aggregate(tenant, "a-1")
    assert event.payload_json == text


@pytest.mark.parametrize(
    "document",
    [
        '{"key": "confidential\ud800"}',
        '{"key": "confidential\0"}',
        '{"key": confidential}',
        {"confidential": {1}},
    ],
    ids=ascii,
)
async def test_a_refusal_does_not_tell_what_was_in_the_document(
    common_store: PostgresEventStore, tenant: str, document: Any
) -> None:
    error = await append_refused(common_store, tenant, [new_event(payload=document)])
    assert "confidential" not in str(error) + repr(error)
