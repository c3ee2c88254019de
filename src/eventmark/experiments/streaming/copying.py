"""The floor of reading a whole log: the same rows in the same order, by COPY to standard output.

``COPY (statement) TO STDOUT (FORMAT binary)``, the statement being the store's own ``stream_events.sql`` from the
log's beginning on: so columns, rows and order are the same by construction. psql runs it, tells the time it took, and
throws the rows away.
"""

from __future__ import annotations

import os
import re
import subprocess

from eventmark.engine.statements import Statement
from eventmark.errors import CannotRunError
from eventmark.server import Server

TOOL = "psql, COPY (...) TO STDOUT (FORMAT binary)"
TIMEOUT_S = 3600.0

_TIME = re.compile(r"^Time: (\d+\.\d+) ms", re.MULTILINE)


class CopyFloor:
    """Reads the first ``events`` events of the log in ``schema``, as quickly as the server delivers them."""

    def __init__(self, server: Server, statement: Statement, schema: str, events: int) -> None:
        self._server = server
        self._events = events
        from_the_tail = {"transaction_id": 0, "global_sequence": 0, "batch_size": events}
        # The last line of the statement may end in a comment
        self.command = f"copy (\n{statement.literal_sql(schema, from_the_tail)}\n) to stdout (format binary)"

    def events_per_s(self) -> float:
        """Raises ``CannotRunError`` where psql is missing or refuses."""
        if self._server.bin_directory is None:
            raise CannotRunError("psql was not found", remedy="install PostgreSQL's client programs")
        done = subprocess.run(
            [
                str(self._server.bin_directory / "psql"), "-X", "-q", "-o", os.devnull, "-v", "ON_ERROR_STOP=1",
                "-c", r"\timing on", "-c", self.command, self._server.program_dsn,
            ],
            capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
            env={**os.environ, **self._server.program_environment, "LC_ALL": "C"},
        )  # fmt: skip
        match = _TIME.search(done.stdout)
        if done.returncode != 0 or match is None:
            reason = (done.stderr.strip().splitlines() or ["it printed no time"])[0]
            raise CannotRunError(f"psql failed: {reason}")
        return self._events / max(float(match[1]) / 1e3, 1e-6)
