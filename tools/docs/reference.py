"""Reference pages from the program itself: verbs, settings, ``store.toml``, the result's schema, the engine's names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any

import msgspec

from eventmark import domain, engine
from eventmark.cli.main import VERBS, app
from eventmark.cli.settings_file import SHARED, flags_of
from eventmark.report.markdown import cell, code, table
from eventmark.stores import definition

_WITHOUT_OPTIONS = "no keys of its own"
_SETTINGS = """# Settings file

Eventmark reads `eventmark.toml` in the current folder, or the file that `--config` names. Every flag is a key, with `_`
for `-`. Keys that verbs share stand at the top. A verb's own keys stand in its table, which may also override shared
keys. Flags on the command line override the file.

```toml
events = "10M"
server = "local"

[soak]
rate = 1000
```

## Shared keys

{shared}

## Keys of single verbs

{own}

`[renames]` maps old names in a history to current ones, for `eventmark trend`.
"""


def pages() -> dict[str, str]:
    """The text of each page by its path in the site."""
    made = {
        "verbs": _verbs(),
        "settings": _settings(),
        "store-toml": _store_toml(),
        "result-format": _result_format(),
        "engine": _engine(),
    }
    return {f"reference/{name}.md": text for name, text in made.items()}


def _verbs() -> str:
    """What ``--help`` shows, of every verb and those below it."""
    text = app.generate_docs(output_format="markdown", include_hidden=False)
    text = re.sub(r"## Table of Contents\n.*?(?=\n\*\*Answer)", "", text, count=1, flags=re.DOTALL)
    text = text.replace("# eventmark\n", "# Verbs and flags\n", 1).replace("```console", "```")
    return re.sub(r" *\*\[default: (False|None)\]\*", "", text)


def _settings() -> str:
    rows = [[code(key), cell(help_text)] for key, help_text in _shared_flags().items()]
    own = [[f"`[{verb}]`", ", ".join(map(code, keys)) or _WITHOUT_OPTIONS] for verb, keys in _own_keys()]
    return _SETTINGS.format(
        shared="\n".join(table(["key", "meaning, and its default in brackets"], rows, "ll")),
        own="\n".join(table(["table", "keys"], own, "ll")),
    )


def _shared_flags() -> dict[str, str]:
    """What ``run`` tells of the flags that verbs share."""
    helps = {
        name.lstrip("-").replace("-", "_"): argument.parameter.help or ""
        for argument in app["run"].assemble_argument_collection()
        for name in argument.names
    }
    return {key: helps[key] for key in SHARED if key in helps}


def _own_keys() -> Iterable[tuple[str, list[str]]]:
    for verb in VERBS:
        if app[verb].default_command is not None:
            flags = flags_of(app[verb].assemble_argument_collection())
            yield verb, sorted(flags.keys() - set(SHARED))


def _store_toml() -> str:
    template = files("eventmark.stores").joinpath("template", "store.toml").read_text(encoding="utf-8")
    needed = definition.REQUIRED_STATEMENTS
    statements = [
        [code(f"{name}.sql"), "required" if name in needed else "optional"] for name in definition.STATEMENTS
    ]
    columns = [
        [code(name), "required" if name in definition.REQUIRED_COLUMNS else "optional"]
        for name in definition.EVENT_COLUMNS
    ]
    return "\n".join(
        [
            "# store.toml",
            "",
            "`eventmark stores new DIR` writes this file. [Bring your own store](../your-own-store.md) explains it.",
            "",
            "```toml",
            template.rstrip(),
            "```",
            "",
            f"Keys: {', '.join(map(code, definition.KEYS))}.",
            "",
            "## Statements",
            "",
            *table(["file", "status"], statements, "ll"),
            "",
            "## Columns of events",
            "",
            *table(["name", "status"], columns, "ll"),
            "",
        ]
    )


def _result_format() -> str:
    text = files("eventmark.results").joinpath("result.schema.json").read_bytes()
    schema: dict[str, Any] = msgspec.json.decode(text)
    lines = [
        "# Result format",
        "",
        f"`result.json` follows the JSON Schema `{schema['$id']}`. Readers accept all earlier versions.",
        "",
    ]
    for name, definition_of in schema["$defs"].items():
        lines += [f"## {name}", "", *_described(definition_of), *_fields(definition_of), ""]
    return "\n".join(lines)


def _described(of: Mapping[str, Any]) -> list[str]:
    text = " ".join(str(of.get("description", "")).split()).replace("``", "`")
    return [text, ""] if text else []


def _fields(of: Mapping[str, Any]) -> list[str]:
    if "enum" in of:
        return [f"One of {', '.join(map(code, of['enum']))}."]
    required = of.get("required", ())
    rows = [
        [code(name), _type(kind), "yes" if name in required else "no"]
        for name, kind in of.get("properties", {}).items()
    ]
    return table(["field", "type", "required"], rows, "lll")


def _type(of: Mapping[str, Any]) -> str:
    """A JSON Schema's type in a few words, with a link to what it refers to."""
    if "$ref" in of:
        name = of["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "const" in of:
        return code(str(of["const"]))
    if "enum" in of:
        return " or ".join(code(str(value)) for value in of["enum"])
    if "anyOf" in of:
        return " or ".join(_type(choice) for choice in of["anyOf"])
    if of.get("type") == "array":
        return f"array of {_type(of['items'])}" if of.get("items") else "array"
    if of.get("type") == "object" and of.get("additionalProperties"):
        return f"object of {_type(of['additionalProperties'])}"
    return str(of.get("type", "any"))


def _engine() -> str:
    """The public names of the library; their signatures and docstrings are filled in when the site is built."""
    return "\n".join(
        [
            "# Engine API",
            "",
            "`pip install eventmark-engine`. [Operate a store](../operations.md) explains its use in production.",
            "",
            *_module("The engine", "eventmark.engine", engine.__all__),
            *_module("Events, streams and tokens", "eventmark.domain", domain.__all__),
            *_module("Metrics", "eventmark.engine.metrics", ["expose_metrics"]),
        ]
    )


def _module(title: str, path: str, names: Sequence[str]) -> list[str]:
    return [f"## {title}", "", *(line for name in sorted(names) for line in (f"::: {path}.{name}", ""))]
