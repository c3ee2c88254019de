"""targets: which operations there are, and what each must stay below."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from inspect import getdoc
from pathlib import Path

from eventmark.cli.options import ConfigFlag, StoreFlag, TargetFlag, TargetsFlag
from eventmark.cli.output import screen
from eventmark.cli.session import chosen_targets
from eventmark.config import Settings, load_settings
from eventmark.operations.catalogue import OPERATIONS
from eventmark.operations.existing import READING
from eventmark.report import render_table
from eventmark.results.results import Row, Table, columns
from eventmark.results.targets import DEFAULT_TARGETS, NAMES, Target, is_own, parse_targets, read_targets
from eventmark.stores import StoreDefinition, find_store


def targets(
    *,
    store: StoreFlag = None,
    targets: TargetsFlag = None,
    target: TargetFlag = None,
    config: ConfigFlag = None,
) -> int:
    """List the operations, what one call of each does, and the target of its latency.

    Of --store, with its own targets; --targets and --target are laid over them as in a run.
    """
    settings = load_settings({"store": store, "targets": targets, "target": target})
    definition = find_store(settings.store)
    table = Table(
        title=f"{definition.name}: operations, and the target of one call's latency",
        columns=columns("operation", "what one call does", "target", "set by"),
        rows=list(_rows(definition, settings, chosen_targets(settings, definition))),
    )
    screen.print(render_table(table))
    return 0


def _rows(definition: StoreDefinition, settings: Settings, chosen: Mapping[str, Target]) -> Iterator[Row]:
    given = parse_targets(settings.target)
    in_file = read_targets(Path(settings.targets)) if settings.targets else {}
    sources = (
        (given, "--target"), (in_file, settings.targets),
        (definition.targets, str(definition.directory / "store.toml")), (DEFAULT_TARGETS, "default"),
    )  # fmt: skip
    for name in filter(is_own, chosen):
        yield [name, "Runs a statement of your own, with --mix.", str(chosen[name]), _first(name, sources)]
    for name in NAMES:
        operation = {**READING, **OPERATIONS}[name]
        lacking = definition.capabilities.lack(*operation.needs)
        target = f"not measured: {lacking}" if lacking else str(chosen.get(name, "none"))
        yield [
            name,
            (getdoc(operation) or "").partition("\n")[0],
            target,
            "" if lacking else _first(name, sources),
        ]


def _first(name: str, sources: Iterable[tuple[Mapping[str, Target], str]]) -> str:
    """Who set its target."""
    return next((source for named, source in sources if name in named), "")
