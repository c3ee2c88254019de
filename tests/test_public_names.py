"""What others build on. A name that is new here is a promise; one that is gone belongs in CHANGELOG.md."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from eventmark import domain, engine, testing

MODULES = {
    domain: """
        AppendResult Capabilities EventBatch EventStore GlobalSequence NewEvent SequenceNumber Snapshot StoredEvent
        StreamId TrackingToken TransactionId
    """,
    engine: """
        EventProcessor GroupAppender ORDERINGS PostgresEventStore Replayed Stall find_stall install_schema read_marker
        replay_aggregate
    """,
    testing: "AssertPlansMet AssertWithinTargets EventStore SeededStore",
}
CLASSES = {
    domain.EventStore: """
        append_events capabilities close create_head_token create_tail_token create_token_at load_aggregate
        read_snapshot store_snapshot stream_events
    """,
    domain.TrackingToken: """
        compare covers epoch gaps global_sequence lower_bound parse store_id tenant transaction_id upper_bound
    """,
    engine.EventProcessor: "lag reset run split stop",
    engine.GroupAppender: "append_events close",
    engine.PostgresEventStore: """
        append_encoded append_events append_group close connect create_head_token create_tail_token create_token_at
        explained_conflict find_events load_aggregate read_snapshot run_statement store_snapshot stream_events
        transaction with_connection
    """,
    testing.SeededStore: "dsn events examine_plans measure open run schema",
}
FIXTURES = "assert_plans_met assert_within_targets eventmark_server eventmark_store"
OPTIONS = """
    --eventmark --eventmark-events --eventmark-profile --eventmark-schema --eventmark-server --eventmark-store
    --eventmark-strict
"""


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_a_module_has_these_public_names(module: ModuleType) -> None:
    assert sorted(module.__all__) == sorted(MODULES[module].split())
    assert all(hasattr(module, name) for name in module.__all__)


@pytest.mark.parametrize("of", CLASSES, ids=lambda of: of.__name__)
def test_a_class_has_these_public_names(of: type) -> None:
    assert sorted(name for name in dir(of) if not name.startswith("_")) == sorted(CLASSES[of].split())


def test_the_plugin_has_these_fixtures_and_options(tmp_path: Path) -> None:
    def of_pytest(flag: str) -> list[str]:
        command = [sys.executable, "-m", "pytest", "-q", flag]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=False
        ).stdout.split()

    ours = {word for word in of_pytest("--fixtures") if word.startswith(("eventmark_", "assert_"))}
    assert {word for word in ours if word.isidentifier()} == set(FIXTURES.split())
    options = {word.partition("=")[0] for word in of_pytest("--help") if word.startswith("--eventmark")}
    assert options == set(OPTIONS.split())
