"""Payloads of the user's own, from a file: one JSON object on each line, as an export of events has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NoReturn

from eventmark.engine.encoding import encoded_document
from eventmark.errors import InvalidEventError, UsageError
from eventmark.text_files import NotTextError, read_text
from eventmark.workload.samples import anonymised, written

SAMPLES_MAX = 2000
SAMPLES_BYTES_MAX = 8 * 2**20
FILE_BYTES_MAX = 2**30


def read_payload_samples(path: Path, *, anonymise: bool) -> tuple[str, ...]:
    """At most ``SAMPLES_MAX`` documents and ``SAMPLES_BYTES_MAX`` of them, from lines evenly spread over the file.

    With ``anonymise``, of their content nothing is kept. Raises ``UsageError``, which quotes none of it either.
    """
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise UsageError(
                f"{path} is larger than {FILE_BYTES_MAX // 2**20:,} MiB",
                remedy=f"export fewer events: {SAMPLES_MAX:,} are enough",
            )
        text = read_text(path)
    except NotTextError as error:
        raise UsageError(f"{path}:{error.line}: {error.message}", remedy=error.remedy) from None
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}", remedy="name a file of one JSON object on each line"
        ) from None
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise UsageError(f"{path} is empty", remedy="give one JSON object on each line")
    step = max(1, -(-len(lines) // SAMPLES_MAX))
    documents = [_document(path, number, line) for number, line in lines[::step]]
    kept = anonymised(documents) if anonymise else documents
    every = max(1, -(-sum(len(text.encode()) for text in kept) // SAMPLES_BYTES_MAX))
    return tuple(kept[::every])


def _document(path: Path, number: int, line: str) -> str:
    try:
        document = json.loads(line, parse_constant=_refused)
        if not isinstance(document, dict):
            raise ValueError("it is no JSON object")
        return encoded_document(written(document), "a payload")
    except (ValueError, RecursionError, InvalidEventError) as error:
        reason = f"not JSON: {error.msg}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise UsageError(f"{path}:{number}: {reason}", remedy="give one JSON object on each line") from None


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
