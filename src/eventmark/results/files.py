"""Results as files: written whole or not at all, read with a clear word about what is wrong."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

import msgspec

from eventmark.errors import CannotRunError, UsageError
from eventmark.redaction import mask, redact_text
from eventmark.results.results import RESULT_FORMAT, RESULT_FORMAT_VERSION, RunResult

RESULT_BYTES_MAX = 512 * 2**20
HEAD_BYTES = 4096
SCHEMA_ID = f"urn:{RESULT_FORMAT}:{RESULT_FORMAT_VERSION}"
READ_VERSIONS = (1, 2, RESULT_FORMAT_VERSION)
_SCENARIO_OF_FLAG = {
    "--group": "group append", "--rls": "row-level security", "--cliffs": "plan cliffs", "--golden": "golden plans",
    "--approve": "golden plans", "--repeat": "repeated plans",
}  # fmt: skip
_SCENARIO_OF_VERB = {"isolate": "isolation"}
SCHEMA_FILE = Path(__file__).parent / "result.schema.json"

_REMEDY = "name a folder that can be, with --out"


class _Head(msgspec.Struct):
    """What a file says it is, before it is taken at its word."""

    format: str = ""
    format_version: int = 0


def write_result(result: RunResult, path: Path) -> None:
    """Write the result as JSON.

    Raises ``CannotRunError`` where that is not possible, and ``ValueError`` for a result that could not be
    read back: JSON has no "not a number" and no infinity.
    """
    content = msgspec.json.encode(without_secrets(result))
    try:
        msgspec.json.decode(content, type=RunResult)
    except msgspec.ValidationError as error:
        raise ValueError(f"the result holds what JSON cannot: {error}") from error
    write_whole(path, msgspec.json.format(content, indent=1))


def without_secrets(result: RunResult) -> RunResult:
    """The result with no password in any of its texts."""
    return msgspec.convert(_without_secrets(msgspec.to_builtins(result)), RunResult)


def _without_secrets(value: Any) -> Any:
    if isinstance(value, str):
        return redact_text(value, words=False)
    if isinstance(value, dict):
        return {_without_secrets(key): _without_secrets(item) for key, item in value.items()}
    return [_without_secrets(item) for item in value] if isinstance(value, list) else value


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there complete or as it was before. Raises ``CannotRunError``.

    Passwords that are registered are masked. Makes the folders above it. A symbolic link stays one; what is no file,
    a device or a pipe, is refused.
    """
    try:
        target = path.resolve()
        if target.exists() and not target.is_file():
            raise CannotRunError(f"{path} cannot be written: not a file", remedy=_REMEDY)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_as_is(target, mask(content.decode(errors="surrogateescape")).encode(errors="surrogateescape"))
    except (OSError, RuntimeError) as error:  # RuntimeError: links that go round in a circle
        why = error.strerror if isinstance(error, OSError) else "its links form a loop"
        raise CannotRunError(f"{path} cannot be written: {why}", remedy=_REMEDY) from error


def write_as_is(target: Path, content: bytes) -> None:
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


# What other documents of ours are shown by.
_OTHERS = {
    "eventmark-comparison": "its pages stand next to it: eventmark compare BASE CANDIDATE --out FOLDER writes them",
    "eventmark-trends": "its pages stand next to it: eventmark trend DIRECTORY --out FOLDER writes them",
}


def read_result(path: Path) -> RunResult:
    """Read a result. Raises ``UsageError`` for what is missing, damaged, or of another format."""
    try:
        with path.open("rb") as file:
            content = file.read(RESULT_BYTES_MAX + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", remedy="name a result.json") from error
    return decode_result(content, str(path))


def decode_result(content: bytes, path: str) -> RunResult:
    """The result that a file called ``path`` holds. Raises ``UsageError`` as ``read_result`` does."""
    if len(content) > RESULT_BYTES_MAX:
        raise UsageError(f"{path} has more than {RESULT_BYTES_MAX // 2**20} MiB", remedy="name a result.json")
    try:
        head = msgspec.json.decode(content, type=_Head)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is damaged or no result: {error}", remedy="name a result.json") from error
    if head.format != RESULT_FORMAT:
        raise UsageError(
            f"{path} is not a result of Eventmark's", remedy=_OTHERS.get(head.format, "name a result.json")
        )
    if head.format_version not in READ_VERSIONS:
        raise UsageError(
            f"{path} is of format version {head.format_version}, this release reads {RESULT_FORMAT_VERSION}",
            remedy="read it with the release that wrote it",
        )
    try:
        if head.format_version == 1:
            return _upgraded(msgspec.json.decode(content))
        result = msgspec.json.decode(content, type=RunResult)
        return msgspec.structs.replace(
            result, format_version=RESULT_FORMAT_VERSION
        )  # version 2 lacks criteria
    except msgspec.MsgspecError as error:
        raise UsageError(f"{path} is damaged: {error}", remedy="run again") from error


def is_of_ours(file: Path | bytes) -> bool:
    """Whether a file, damaged or not, was written as a result, as far as its beginning tells."""
    try:
        head = file if isinstance(file, bytes) else _beginning(file)
    except OSError:
        return False
    return f'"{RESULT_FORMAT}"'.encode() in head[:HEAD_BYTES]


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def _upgraded(document: dict[str, Any]) -> RunResult:
    """A document of version 1 as one of today: its scenario is told by the command that made it.

    Raises ``msgspec.ValidationError``. In version 1 an operation of which no call succeeded had a latency of 0.
    """
    command = str(document.get("command", ""))
    operations = document.get("operations", {})
    for operation in operations.values() if isinstance(operations, dict) else ():
        if isinstance(operation, dict) and not operation.get("latency_ms", {}).get("max"):
            operation["latency_ms"] = None
    changed = {"format_version": RESULT_FORMAT_VERSION, "scenario": _scenario_of_command(command)}
    return msgspec.convert(document | changed, type=RunResult)


def _scenario_of_command(command: str) -> str:
    """The scenario that a command line of version 1 ran; the verb where no flag made it another."""
    words = command.split()
    verb = words[1] if len(words) > 1 and words[0] == "eventmark" else (words or [""])[0]
    return next(
        (name for flag, name in _SCENARIO_OF_FLAG.items() if flag in words), _SCENARIO_OF_VERB.get(verb, verb)
    )


def result_schema() -> dict[str, Any]:
    """The JSON Schema of a result, as ``result.schema.json`` publishes it."""
    schema = msgspec.json.schema(RunResult)
    run = schema["$defs"][RunResult.__name__]
    # Defaults where results are made; in a file they are what tells a result from anything else.
    run["properties"]["format"] = {"const": RESULT_FORMAT}
    run["properties"]["format_version"] = {"const": RESULT_FORMAT_VERSION}
    run["required"] = ["format", "format_version", *run["required"]]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": f"Eventmark result, version {RESULT_FORMAT_VERSION}",
        **schema,
    }


def result_schema_text() -> bytes:
    return msgspec.json.format(msgspec.json.encode(result_schema()), indent=1) + b"\n"
