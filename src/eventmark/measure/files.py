"""Results as files: written whole or not at all, read with a reason when they cannot be, and their schema."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

import msgspec

from eventmark.errors import CannotRunError, UsageError
from eventmark.measure.results import RESULT_FORMAT, RESULT_FORMAT_VERSION, RunResult

RESULT_BYTES_MAX = 512 * 2**20
SCHEMA_ID = f"urn:{RESULT_FORMAT}:{RESULT_FORMAT_VERSION}"


class _Header(msgspec.Struct):
    """What every version of the format has."""

    format: Any = None
    format_version: Any = None


def write_result(result: RunResult, path: Path) -> None:
    """Write the result as JSON; ``path`` then holds all of it, or what it held before.

    Makes the folders above it. Raises ``CannotRunError`` where it cannot be written, and ``ValueError`` for
    a result that could not be read back: JSON has no "not a number" and no infinity.
    """
    text = msgspec.json.encode(result)
    try:
        msgspec.json.decode(text, type=RunResult)
    except msgspec.ValidationError as error:
        raise ValueError(f"the result holds what JSON cannot: {error}") from error
    try:
        target = path.resolve()  # a symbolic link stays one
        if target.exists() and not target.is_file():
            # Renaming over it would replace a device or fail on a folder.
            raise CannotRunError(f"cannot write the result to {path}: not a file", remedy="name a file")
        target.parent.mkdir(parents=True, exist_ok=True)
        _replace(target, msgspec.json.format(text, indent=1) + b"\n")
    except (OSError, RuntimeError) as error:  # RuntimeError: links that go round in a circle
        why = error.strerror if isinstance(error, OSError) else error
        raise CannotRunError(
            f"cannot write the result to {path}: {why}", remedy="name another file"
        ) from error


def _replace(target: Path, content: bytes) -> None:
    """Write beside the target, flush, rename over it, flush the folder: a crash leaves the old or the new."""
    beside = target.with_name(f".{RESULT_FORMAT}-{secrets.token_hex(8)}")
    try:
        with beside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    if os.name == "posix":
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def read_result(path: Path) -> RunResult:
    """The result a file holds.

    Raises ``UsageError``: no such file, not JSON or cut short, not a result, another version of the format,
    or a result whose fields are not as they should be.
    """
    content = _read(path)
    try:
        header = msgspec.json.decode(content, type=_Header)
    except msgspec.ValidationError as error:
        raise _not_a_result(path) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is cut short or not JSON: {error}", remedy="run again") from error
    if header.format != RESULT_FORMAT:
        raise _not_a_result(path)
    if header.format_version != RESULT_FORMAT_VERSION or isinstance(header.format_version, bool):
        raise UsageError(
            f"{path} is a result of format version {header.format_version!r}, "
            f"this Eventmark reads {RESULT_FORMAT_VERSION}",
            remedy="use the Eventmark that wrote it, or run again",
        )
    try:
        return msgspec.json.decode(content, type=RunResult)
    except msgspec.ValidationError as error:
        raise UsageError(f"{path} is a damaged result: {error}", remedy="run again") from error


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(RESULT_BYTES_MAX + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    if len(content) > RESULT_BYTES_MAX:
        raise UsageError(f"{path} is larger than {RESULT_BYTES_MAX // 2**20} MiB")
    if not content.strip():
        raise UsageError(f"{path} is empty", remedy="run again")
    return content


def _not_a_result(path: Path) -> UsageError:
    return UsageError(f"{path} is not an Eventmark result", remedy=f'"format" has to be "{RESULT_FORMAT}"')


def result_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a result file."""
    schema = msgspec.json.schema(RunResult)
    run = schema["$defs"][RunResult.__name__]
    # Defaults where they are built; in a file they are what tells a result from anything else.
    run["properties"]["format"] = {"const": RESULT_FORMAT}
    run["properties"]["format_version"] = {"const": RESULT_FORMAT_VERSION}
    run["required"] = ["format", "format_version", *run["required"]]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "Eventmark result",
        **schema,
    }


def result_schema_text() -> str:
    """The schema as it is kept beside this module."""
    return msgspec.json.format(msgspec.json.encode(result_schema()), indent=2).decode() + "\n"
