"""``eventmark.toml``: shared keys at its top, a table for each verb over them; flags win over both.

Every flag of a verb is a key, under its own name. ``[soak] rate = 1000`` is soak's alone.
``[corpus]`` holds the keys of the corpus, for those who want them together.
``[renames]`` gives names of old in a history those of today.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from cyclopts import App, Argument, ArgumentCollection
from cyclopts.config import Dict

from eventmark.cli.options import CorpusOptions, Options, StoreOptions
from eventmark.config import DSN_KEYS
from eventmark.errors import UsageError
from eventmark.redaction import looks_like_dsn
from eventmark.results.targets import TARGET_EXAMPLE
from eventmark.text_files import NotTextError, read_text

FILE = Path("eventmark.toml")
SHARED = tuple(field.name for field in fields(Options) if field.name != "config")
"""Keys that may stand at the top of the file: flags that verbs share."""

CORPUS = "corpus"
"""The table whose keys are those of the corpus alone; they may stand at the top as well."""

CORPUS_KEYS = tuple(
    sorted(
        {field.name for field in fields(CorpusOptions)}
        - {field.name for field in fields(StoreOptions)}
        - {"replace"}
    )
)
RENAMES = "renames"  # the table
_RENAME = "rename"  # the flag that takes it
_FLAG = "--config"
_TYPES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """A settings file for ``App.config``: gives a verb's flags that were not given what the file says."""

    path: Path
    content: Mapping[str, Any]

    def __call__(self, app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        """Raises ``UsageError`` for a key that the verb has no flag for."""
        if not commands:
            return
        flags = flags_of(arguments)
        verb = commands[0]
        own = self.content.get(verb)
        table = own if isinstance(own, dict) else {}  # ``seed`` is a verb, and a key
        for key in table:
            if key not in flags and commands == (verb,):
                raise UsageError(
                    f"{self.path}: [{verb}] has an unknown key {key!r}{_nearest(key, flags)}",
                    remedy=f"its keys are {', '.join(sorted(flags))}",
                )
        shared = {key: value for key, value in self.content.items() if not isinstance(value, dict)}
        corpus = self.content.get(CORPUS)
        chosen = shared | (corpus if isinstance(corpus, dict) else {}) | table
        chosen = {_key(key): value for key, value in chosen.items() if key in flags}
        if _RENAME in flags and isinstance(names := self.content.get(RENAMES), dict):
            chosen[_RENAME] = [f"{old}={new}" for old, new in names.items()]
        for key, value in chosen.items():
            self._check_type(f"[{verb}] {key}" if key in table else key, value, flags[key])
        data: dict[str, Any] = {key.replace("_", "-"): value for key, value in chosen.items()}
        for command in reversed(commands):
            data = {command: data}
        Dict(data=data, source=str(self.path))(app, commands, arguments)

    def _check_type(self, where: str, value: Any, hint: Any) -> None:
        wanted = next(
            (kind for kind in _TYPES if kind is hint or kind in getattr(hint, "__args__", ())), None
        )
        if wanted is None or type(value) is wanted or (type(value) is int and wanted in (float, str)):
            return
        raise UsageError(
            f"{self.path}: {where} must be {_TYPES[wanted]}, got {value!r}",
            remedy=f"write {_TYPES[wanted]} as TOML does",
        )


def flags_of(arguments: Iterable[Argument]) -> dict[str, Any]:
    """The keys that a verb's flags are, each with its type; not the names that say no to one."""
    return {
        _key(name): argument.hint
        for argument in arguments
        for name in argument.names
        if name.startswith("--") and name != _FLAG and not name.startswith("--no-")
    }


def settings_file(arguments: Sequence[str], app: App, verbs: Sequence[str]) -> SettingsFile | None:
    """The file that ``--config`` names, else ``eventmark.toml`` where there is one. Raises ``UsageError``."""
    named = _named(arguments)
    if named is None and not FILE.exists():
        return None
    path = named or FILE
    content = _read(path)
    for key, value in content.items():
        if key == RENAMES:
            _check_renames(path, value)
        elif key == CORPUS:
            _check_corpus(path, value)
        elif isinstance(value, dict):
            if key not in verbs:
                raise UsageError(
                    f"{path}: [{key}] is not a verb{_nearest(key, verbs)}",
                    remedy=f"a table is a verb's: {', '.join(verbs)}",
                )
            if key == "targets":
                _check_targets(path, value, flags_of(app[key].assemble_argument_collection()))
        elif key not in SHARED:
            raise _not_shared(path, key, app, verbs)
    return SettingsFile(path, content)


def _check_renames(path: Path, table: Any) -> None:
    if not isinstance(table, dict) or not all(isinstance(new, str) and new for new in table.values()):
        raise UsageError(
            f"{path}: [{RENAMES}] must be a table of old and new names",
            remedy='write [renames] and "old name" = "new name"',
        )


def _check_corpus(path: Path, table: Any) -> None:
    remedy = f"write [{CORPUS}]; its keys are {', '.join(CORPUS_KEYS)}"
    if not isinstance(table, dict):
        raise UsageError(f"{path}: {CORPUS} must be a table", remedy=remedy)
    for key in table.keys() - set(CORPUS_KEYS):
        raise UsageError(
            f"{path}: [{CORPUS}] has an unknown key {key!r}{_nearest(key, CORPUS_KEYS)}", remedy=remedy
        )


def _check_targets(path: Path, table: Mapping[str, Any], flags: Mapping[str, Any]) -> None:
    """A store's file has targets under that name, where a settings file has what one verb is given."""
    for key in table.keys() - flags.keys():
        raise UsageError(
            f"{path}: [targets] is of the verb of that name, and {key!r} is none of its keys",
            remedy=f"targets stand in store.toml, in the file that targets names, or as target = ['{TARGET_EXAMPLE}']",
        )


def _not_shared(path: Path, key: str, app: App, verbs: Sequence[str]) -> UsageError:
    """Where the key belongs: once all keys stood at the top, and meant a different thing to each verb."""
    tables = [
        f"[{verb}]"
        for verb in verbs
        if app[verb].default_command is not None and key in flags_of(app[verb].assemble_argument_collection())
    ]
    if tables:
        return UsageError(
            f"{path}: {key!r} belongs to single verbs: it is a key of {', '.join(tables)}",
            remedy=f"move it into the table it is meant for, below a line {tables[0]}",
        )
    return UsageError(
        f"{path}: unknown key {key!r}{_nearest(key, SHARED)}", remedy=f"verbs share {', '.join(SHARED)}"
    )


def _named(arguments: Sequence[str]) -> Path | None:
    for number, word in enumerate(arguments):
        if word == _FLAG and number + 1 < len(arguments):
            return Path(arguments[number + 1])
        if word.startswith(f"{_FLAG}="):
            return Path(word.partition("=")[2])
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(read_text(path))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", remedy="name a TOML file") from error
    except NotTextError as error:
        raise UsageError(
            f"{path} is not TOML: line {error.line}: {error.message}", remedy=error.remedy
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}", remedy="correct the line that is named") from error
    _check_dsns(path, content)
    return _keyed(content)


def _keyed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Flags may be written as on the command line, with a dash."""
    return {
        _key(key): {_key(name): item for name, item in value.items()}
        if isinstance(value, dict) and key != RENAMES
        else value
        for key, value in content.items()
    }


def _key(name: str) -> str:
    return name.lstrip("-").replace("-", "_")


def _nearest(key: str, known: Any) -> str:
    nearest = difflib.get_close_matches(key, list(known), 1)
    return f", did you mean {nearest[0]!r}?" if nearest else ""


def _check_dsns(path: Path, value: Any, key: str = "") -> None:
    """Raises ``UsageError`` for a DSN anywhere but at a key that takes one: no error may quote it."""
    if isinstance(value, dict):
        for name, item in value.items():
            _check_dsns(path, name)
            _check_dsns(path, item, name)
    elif isinstance(value, list):
        for item in value:
            _check_dsns(path, item)
    elif isinstance(value, str) and key not in DSN_KEYS and looks_like_dsn(value):
        raise UsageError(
            f"{path}: a DSN stands {f'at {key}' if key else 'for a key'}, where none belongs",
            remedy="name a server at the key server",
        )
