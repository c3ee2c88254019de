"""Payloads after samples of the user's own: their shape, sizes and text; anonymised, their shape and sizes alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmark.errors import UsageError
from eventmark.seeding import read_payload_samples
from eventmark.seeding.payload_samples import SAMPLES_MAX
from eventmark.workload import CorpusPlan, make_batch
from eventmark.workload.samples import anonymised, written
from tests.cli.conftest import Command
from tests.database import fetch

SAMPLES = [
    {
        "orderId": "A-17",
        "customer": {"name": "Ada Lövelace", "mail": "ada@example.org"},
        "amount": 12.5,
        "lines": [],
    },
    {
        "orderId": "B-2",
        "paid": True,
        "note": None,
        "lines": [{"sku": "x-9", "count": 30}],
        "text": "word " * 60,
    },
]
SECRETS = re.compile(
    "order|customer|name|Ada|Lövelace|mail|example|org|amount|lines|paid|note|sku|count|text|word"
)
SCALARS = st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.text(max_size=20)
DOCUMENTS = st.dictionaries(
    st.text(max_size=8),
    st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=5),
    max_size=5,
)


def sampled(tmp_path: Path, *documents: Any, anonymise: bool = False) -> tuple[str, ...]:
    path = tmp_path / "samples.ndjson"
    path.write_text("".join(json.dumps(one) + "\n" for one in documents))
    return read_payload_samples(path, anonymise=anonymise)


def shape(value: Any) -> Any:
    if isinstance(value, dict):
        return sorted(json.dumps(shape(one)) for one in value.values())
    if isinstance(value, list):
        return [shape(one) for one in value]
    return type(value).__name__


def test_payloads_have_the_shapes_the_sizes_and_the_text_of_the_samples(tmp_path: Path) -> None:
    plan = CorpusPlan(2000, samples=sampled(tmp_path, *SAMPLES))
    payloads = [event.payload for event in make_batch(plan, 0).events]
    assert {len(one.encode()) for one in payloads} == {len(written(one).encode()) for one in SAMPLES}
    assert {json.dumps(shape(json.loads(one))) for one in payloads} == {
        json.dumps(shape(one)) for one in SAMPLES
    }
    names = {json.loads(one)["customer"]["name"] for one in payloads if "customer" in one}
    assert names == {"Ada Lövelace"}
    assert len(set(payloads)) > 100  # numbers differ
    again = [event.payload for event in make_batch(CorpusPlan(2000, samples=plan.samples), 0).events]
    assert again == payloads


def test_nothing_of_anonymised_samples_is_left_but_shape_and_size(tmp_path: Path) -> None:
    kept = sampled(tmp_path, *SAMPLES, anonymise=True)
    assert [len(one.encode()) for one in kept] == [len(written(one).encode()) for one in SAMPLES]
    assert [shape(json.loads(one)) for one in kept] == [shape(one) for one in SAMPLES]
    assert not SECRETS.search("".join(kept))
    (text,) = [one for one in json.loads(kept[1]).values() if isinstance(one, str) and len(one) > 100]
    assert len(set(text.split())) == 1  # what repeats goes on to


@given(st.lists(DOCUMENTS, min_size=1, max_size=4))
def test_no_word_of_any_document_survives(documents: list[dict[str, Any]]) -> None:
    words = set(re.findall(r"[^\W0-9_]{4,}", "".join(written(one) for one in documents))) - {
        "true",
        "false",
        "null",
    }
    for before, after in zip(documents, anonymised([written(one) for one in documents]), strict=True):
        assert not words & set(re.findall(r"[^\W0-9_]{4,}", after))
        assert len(after.encode()) <= len(written(before).encode())


def test_of_a_large_file_lines_all_over_it_are_taken(tmp_path: Path) -> None:
    kept = sampled(tmp_path, *({"number": number} for number in range(3 * SAMPLES_MAX)))
    numbers = [json.loads(one)["number"] for one in kept]
    assert len(numbers) <= SAMPLES_MAX
    assert numbers[0] == 0 and numbers[-1] >= 3 * SAMPLES_MAX - 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ('{"a": 1}\n{"password": "geheim"\n', ":2: not JSON"),
        ('{"a": 1}\n\n[1]\n', ":3: it is no JSON object"),
        ('{"a": NaN}', ":1: NaN is not JSON"),
        ('{"a": "\\u0000geheim"}', ":1: a payload has an escaped NUL"),
        ('{"a": 1' + "0" * 5000 + "}", ":1: "),
        ('{"a":' * 20_000, ":1: "),
    ],
)
def test_what_is_no_sample_is_named_by_its_line_and_not_shown(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "samples.ndjson"
    path.write_text(text)
    with pytest.raises(UsageError, match=re.escape(said)) as caught:
        read_payload_samples(path, anonymise=False)
    assert "geheim" not in str(caught.value)


def test_a_corpus_after_samples_is_seeded_audited_appended_to_and_made_only_once(
    command: Command, database: str
) -> None:
    Path("samples.ndjson").write_text("".join(json.dumps(one) + "\n" for one in SAMPLES))
    asked = ("--events", "2k", "--server", database, "--payload-samples", "samples.ndjson")
    done = command("seed", *asked, "--anonymise")
    assert done.code == 0, done.err
    audited = command("audit", "--server", database)
    assert audited.code in (0, 3), audited.out
    assert re.search("payload sizes.*MET", audited.out), audited.out
    again = command("seed", *asked, "--anonymise")
    assert again.code == 0 and "is there already" in again.out
    load = (
        "--mix",
        "append_events[1]=100",
        "--rate",
        "20",
        "--seconds",
        "2",
        "--profile",
        "quick",
        "--no-baselines",
    )
    assert command("load", *asked, "--anonymise", *load).code in (0, 3)
    sizes = "select array_agg(distinct octet_length(payload::text)) from eventmark_corpus.domain_events"
    assert set(fetch(database, f"{sizes} where global_sequence_id > 2000")) == {
        len(written(one).encode()) for one in SAMPLES
    }
    other = command("seed", *asked)
    assert other.code == 4 and "--replace" in other.err
    assert command("seed", "--events", "2k", "--server", database, "--anonymise").code == 2
    assert command("seed", *asked[:-1], "missing.ndjson").code == 2
    both = command("seed", *asked, "--payload", "small")
    assert both.code == 2 and "leave out --payload" in both.err
