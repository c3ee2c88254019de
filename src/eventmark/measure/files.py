"""Results as files: written whole or not at all, read with a clear word about what is wrong."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from eventmark.errors import CannotRunError, UsageError
from eventmark.measure.results import RESULT_FORMAT, RESULT_FORMAT_VERSION, RunResult

SCHEMA_FILE = Path(__file__).parent / "result.schema.json"


class _Head(msgspec.Struct):
    """What a file says it is, before it is taken at its word."""

    format: str = ""
    format_version: int = 0


def write_result(result: RunResult, path: Path) -> None:
    """Write the result as JSON. Raises ``CannotRunError`` where that is not possible."""
    write_whole(path, msgspec.json.format(msgspec.json.encode(result), indent=1))


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there complete or as it was before. Raises ``CannotRunError``."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise CannotRunError(
            f"{path} cannot be written: {error.strerror}", remedy="name a folder that can be, with --out"
        ) from error


def read_result(path: Path) -> RunResult:
    """Read a result. Raises ``UsageError`` for what is missing, damaged, or of another format."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", remedy="name a result.json") from error
    try:
        head = msgspec.json.decode(content, type=_Head)
    except msgspec.MsgspecError as error:
        raise UsageError(f"{path} is damaged or no result: {error}", remedy="name a result.json") from error
    if head.format != RESULT_FORMAT:
        raise UsageError(f"{path} is not a result of Eventmark's", remedy="name a result.json")
    if head.format_version != RESULT_FORMAT_VERSION:
        raise UsageError(
            f"{path} is of format version {head.format_version}, this release reads {RESULT_FORMAT_VERSION}",
            remedy="read it with the release that wrote it",
        )
    try:
        return msgspec.json.decode(content, type=RunResult)
    except msgspec.MsgspecError as error:
        raise UsageError(f"{path} is damaged: {error}", remedy="run again") from error


def result_schema() -> dict[str, Any]:
    """The JSON Schema of a result, as ``result.schema.json`` publishes it."""
    schema = msgspec.json.schema(RunResult)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Eventmark result, version {RESULT_FORMAT_VERSION}",
        **schema,
    }


def result_schema_text() -> bytes:
    return msgspec.json.format(msgspec.json.encode(result_schema()), indent=1) + b"\n"
