"""The stores that come along, and those of the user: found by name or by folder."""

from __future__ import annotations

from pathlib import Path

from eventmark.choices import unknown
from eventmark.engine.migrations import ENGINE_STORE_NAME
from eventmark.errors import UsageError
from eventmark.stores.definition import StoreDefinition, read_definition, store_name_of

_HERE = Path(__file__).parent
_TEMPLATE = _HERE / "template"
_TEMPLATE_NAME = 'name = "my-store"'


def store_names() -> tuple[str, ...]:
    """The stores that come along."""
    return tuple(
        sorted(path.parent.name for path in _HERE.glob("*/store.toml") if path.parent.name != _TEMPLATE.name)
    )


def find_store(name: str) -> StoreDefinition:
    """A store by its name, or by the path of its folder (anything with a ``/`` or ``.`` in it).

    Raises ``UsageError`` for an unknown name, ``StoreDefinitionError`` for a folder that is wrong.
    """
    if name in store_names():
        return read_definition(_HERE / name)
    directory = Path(name).expanduser()
    if directory.is_dir() or "/" in name or name.startswith("."):
        return read_definition(directory)
    remedy = f"use {', '.join(store_names())} or the path of a store's folder, such as ./my-store"
    raise unknown("store", name, store_names(), remedy=remedy)


def engine_store() -> StoreDefinition:
    """The store that our engine runs."""
    return find_store(ENGINE_STORE_NAME)


def write_template(directory: Path) -> list[Path]:
    """Write the commented example into ``directory``, which must be new or empty; the files written.

    The store is called as its folder is: two stores of one name would share a corpus.
    """
    name = store_name_of(directory)
    new_folder(directory)
    try:
        written = []
        for source in sorted(_TEMPLATE.iterdir()):
            target = directory / source.name
            text = source.read_text(encoding="utf-8")
            target.write_text(text.replace(_TEMPLATE_NAME, f'name = "{name}"'), encoding="utf-8")
            written.append(target)
    except OSError as error:
        raise UsageError(
            f"cannot write to {directory}: {error.strerror}", remedy="name another folder"
        ) from error
    return written


def check_new(directory: Path) -> None:
    """Raises ``UsageError`` for a folder that holds anything."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(f"{directory} is not empty", remedy="name a new folder")


def new_folder(directory: Path) -> None:
    """Make a folder for a store. Raises ``UsageError`` for one that holds anything."""
    check_new(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot write to {directory}: {error.strerror}", remedy="name another folder"
        ) from error
