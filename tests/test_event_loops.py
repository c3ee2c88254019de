"""A run has one event loop, opened in ``server.loop``; who has one of his own lives in a thread or process of his own."""

from __future__ import annotations

import re
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "eventmark"
OPENED = re.compile(r"\basyncio\.run\b|\basyncio\.(?:Runner|new_event_loop)\(|\brun_until_complete\(")
OWN = {
    "server/loop.py": 1,
    # In threads of their own: they look while something else is measured, or are called where a loop runs already.
    "server/monitor.py": 1, "server/watch.py": 1, "server/doctor.py": 1, "server/provision.py": 1,
    "jobs/metering.py": 1, "experiments/isolation/follower.py": 1, "experiments/selfcheck/stall.py": 1,
    # In processes of their own: what is measured there is measured on the loop that a service would have.
    "workers/handing.py": 1, "sidebyside/side.py": 1,
    # A session that only is there; its loop runs while it comes and goes.
    "stores/claims.py": 3,
}  # fmt: skip


def loops_of(text: str) -> int:
    code = "\n".join(line.partition("#")[0] for line in text.splitlines())
    return len(OPENED.findall(code))


def test_nobody_opens_an_event_loop_for_one_question() -> None:
    found = {
        str(path.relative_to(SOURCE)): loops_of(path.read_text()) for path in sorted(SOURCE.rglob("*.py"))
    }
    assert {name: count for name, count in found.items() if count} == OWN
    assert loops_of("answer = asyncio.run(asked())\nwith asyncio.Runner() as runner:  # asyncio.run\n") == 2
