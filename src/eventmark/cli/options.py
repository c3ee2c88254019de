"""The flags that verbs share. Each is a key at the top of ``eventmark.toml``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from eventmark.config import Settings, load_settings
from eventmark.errors import UsageError
from eventmark.results.targets import TARGET_EXAMPLE

_CORPUS = "Corpus"
_SERVER = "Server"
_RUN = "Run"
_SETTINGS = "Settings"

ConfigFlag = Annotated[
    Path | None, Parameter(group=_SETTINGS, help="Settings file [eventmark.toml if there].")
]
StoreFlag = Annotated[
    str | None, Parameter(group=_RUN, help="A store's name, or its folder: ./my-store [eaf].")
]
TargetsFlag = Annotated[str | None, Parameter(group=_RUN, help="TOML file of targets over the defaults.")]
TargetFlag = Annotated[
    list[str] | None,
    Parameter(
        group=_RUN, negative=(), help=f"A target over all others, '{TARGET_EXAMPLE}'; may be given again."
    ),
]
ClusterFlag = Annotated[
    str | None,
    Parameter(
        name="--workers", group=_RUN,
        help="A Dask cluster's workers instead of processes of this machine: dask://host:8786.",
    ),
]  # fmt: skip


@Parameter(name="*")
@dataclass(kw_only=True)
class ServerOptions:
    """Which server, and what of it; None where nothing was given on the command line."""

    server: Annotated[
        str | None,
        Parameter(group=_SERVER, help="embedded, local, docker or postgresql://user@host/database."),
    ] = None
    schema: Annotated[
        str | None, Parameter(group=_SERVER, help="Schema that Eventmark creates [eventmark_corpus].")
    ] = None
    directory: Annotated[
        str | None, Parameter(group=_SERVER, help="Where the cluster lives [.eventmark when it is kept].")
    ] = None
    keep: Annotated[
        bool | None, Parameter(group=_SERVER, negative=(), help="Keep the cluster, and the corpus in it.")
    ] = None
    port: Annotated[int | None, Parameter(group=_SERVER, help="Port of our own server [a free one].")] = None
    config: ConfigFlag = None

    def settings(
        self, defaults: Mapping[str, str | int] | None = None, /, **own: str | int | float | None
    ) -> Settings:
        """The shared flags and a verb's ``own`` together; a verb may have ``defaults`` of its own.

        Raises ``UsageError``.
        """
        given = asdict(self) | own
        del given["config"]  # was read before the verb was called
        return load_settings(given, defaults)


@Parameter(name="*")
@dataclass(kw_only=True)
class StoreOptions(ServerOptions):
    """And which store."""

    store: StoreFlag = None


@Parameter(name="*")
@dataclass(kw_only=True)
class CorpusOptions(StoreOptions):
    """And which corpus."""

    events: Annotated[
        str | None, Parameter(group=_CORPUS, help="Events to seed, e.g. 50k, 1M, 10M [1M].")
    ] = None
    tenants: Annotated[int | None, Parameter(group=_CORPUS, help="Tenants [20].")] = None
    payload: Annotated[
        str | None,
        Parameter(
            name=["--payload", "--payloads"], group=_CORPUS,
            help="Payloads: realistic, small or lean [realistic].",
        ),
    ] = None  # fmt: skip
    payload_samples: Annotated[
        str | None,
        Parameter(group=_CORPUS, help="Make payloads after those in a file: one JSON object on each line."),
    ] = None
    anonymise: Annotated[
        bool | None,
        Parameter(
            group=_CORPUS,
            negative=(),
            help="Keep the samples' shapes and sizes; replace every word and digit.",
        ),
    ] = None
    payload_sizes: Annotated[
        str | None,
        Parameter(
            group=_CORPUS, help="Sizes in bytes: 70%:100-500,30%:1000-5000 [as the payloads' profile]."
        ),
    ] = None
    large_tenants: Annotated[
        str | None, Parameter(group=_CORPUS, help="Share of the tenants that are large [20%].")
    ] = None
    large_events: Annotated[
        str | None, Parameter(group=_CORPUS, help="Share of the events that large tenants own [80%].")
    ] = None
    stream_length: Annotated[
        float | None, Parameter(group=_CORPUS, help="Median length of a stream in events; long-tailed [4].")
    ] = None
    seed: Annotated[int | None, Parameter(group=_CORPUS, help="The same seed makes the same corpus [1].")] = (
        None
    )
    replace: Annotated[
        bool | None, Parameter(group=_CORPUS, negative=(), help="Replace another corpus in the schema.")
    ] = None


@Parameter(name="*")
@dataclass(kw_only=True)
class Options(CorpusOptions):
    """And how it is measured and reported."""

    aged: Annotated[
        bool | None,
        Parameter(
            group=_CORPUS,
            negative=(),
            help="Age the corpus as months of production would: gaps, dead rows, an unvacuumed tail.",
        ),
    ] = None
    profile: Annotated[str | None, Parameter(group=_RUN, help="quick, standard or full [standard].")] = None
    targets: TargetsFlag = None
    target: TargetFlag = None
    out: Annotated[str | None, Parameter(group=_RUN, help="Folder for the result and its reports [out].")] = (
        None
    )
    baselines: Annotated[
        bool | None,
        Parameter(
            name=["--baselines", "--floors"], group=_RUN,
            help="Measure pgbench, psql and peers next to each operation.",
        ),
    ] = None  # fmt: skip
    verbose: Annotated[
        bool | None, Parameter(group=_RUN, negative=(), help="Print every table that the report has.")
    ] = None
    json: Annotated[bool | None, Parameter(group=_RUN, negative=(), help="Print the result as JSON.")] = None
    metrics_port: Annotated[
        int | None,
        Parameter(group=_RUN, help="Serve metrics for Prometheus on this port of 127.0.0.1 while it runs."),
    ] = None
    profiler: Annotated[
        str | None,
        Parameter(group=_RUN, help="cpu or memory: flame graphs of the client, next to the report."),
    ] = None
    baseline: Annotated[
        str | None, Parameter(group=_RUN, help="A result to compare with when this run is done.")
    ] = None
    summary: Annotated[
        str | None, Parameter(group=_RUN, help="File a Markdown summary is added to, for a CI's page.")
    ] = None


_EXISTING = "Existing data"


@Parameter(name="*")
@dataclass(kw_only=True)
class ExistingOptions(Options):
    """And whether data that is there already is measured instead of a corpus."""

    existing: Annotated[
        bool | None,
        Parameter(
            group=_EXISTING, negative=(), help="Measure the tables of --schema [public] as they are; write nothing."
        ),
    ] = None  # fmt: skip
    allow_appends: Annotated[
        bool | None,
        Parameter(group=_EXISTING, negative=(), help="Measure appends too, in transactions that are rolled back."),
    ] = None  # fmt: skip
    allow_scans: Annotated[
        bool | None,
        Parameter(group=_EXISTING, negative=(), help="Run statements that read a large table whole."),
    ] = None

    def settings(
        self, defaults: Mapping[str, str | int] | None = None, /, **own: str | int | float | None
    ) -> Settings:
        """As the shared flags'; what makes no sense on data that is there already is refused."""
        if not self.existing:
            if self.allow_appends or self.allow_scans:
                raise UsageError(
                    "--allow-appends and --allow-scans are for --existing", remedy="add --existing"
                )
            return super().settings(defaults, **own)
        for name in ("replace", "aged", "keep"):
            if getattr(self, name):
                raise UsageError(
                    f"--{name} is for a corpus, and --existing seeds none", remedy="leave one of them out"
                )
        return super().settings({"schema": "public", "baselines": False, **(defaults or {})}, **own)


def checked_seconds(seconds: int | None) -> int | None:
    """The flag of that name, which several verbs have. Raises ``UsageError`` below 1."""
    if seconds is not None and seconds < 1:
        raise UsageError(
            f"--seconds must be 1 or more, got {seconds}", remedy="leave it out for the verb's own"
        )
    return seconds
