"""What a scenario is: something that can be run on a job and ends with a result."""

from __future__ import annotations

from typing import ClassVar, Protocol

from eventmark.jobs.job import Job
from eventmark.results.results import RunResult
from eventmark.seeding import Progress, no_progress


class Scenario(Protocol):
    """One class per scenario; what is special to a run of it is given when it is made."""

    name: ClassVar[str]

    def run(self, job: Job, progress: Progress = no_progress) -> RunResult:
        """Run on the job's server and store. Raises ``CannotRunError`` or ``UsageError``; findings are data."""
        ...
