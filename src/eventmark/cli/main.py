"""The command line: verbs to functions, errors to one line and an exit code.

Exit codes: 0 met, 1 broken, 2 usage or configuration, 3 inconclusive, 4 could not run.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from cyclopts import App, CycloptsError
from rich.console import Console

from eventmark import __version__
from eventmark.errors import EventmarkError, UsageError

app = App(
    name="eventmark",
    version=__version__,
    help="The proving ground for PostgreSQL event stores: will it hold, at production scale, without losing an event?",
)
# Named, not imported: every worker process imports this module anew, and needs none of what the verbs need.
_VERBS = {
    "run:run": "The main job: provision, seed, audit, measure, examine plans, judge, report.",
    "verify:verify": "Hunt for lost events: concurrent writers and consumers, every invariant checked.",
    "corpus:seed": "Fill a store with a corpus and keep it.",
    "corpus:audit": "Prove from the table itself what is in a corpus.",
    "run:bench": "Measure the core operations on a corpus that is kept.",
    "run:explain": "Examine the plan of every statement.",
    "advise:advise": "Find what could be better, and try it: ranked advice, and runnable SQL.",
    "run:limits": "How far each operation is from what pgbench, the bare driver and a library do.",
    "diagnose:report": "Show a result again, and write its reports anew.",
    "dashboards:dashboards": "Grafana dashboards, Prometheus rules, and a page over the history of results.",
    "diagnose:doctor": "Whether this machine and server are fit to measure on.",
    "store:store": "Migrate a store, make its roles, rebase it after a restore.",
    "stores:stores": "List the stores, make one of your own, check it.",
}
for place, summary in _VERBS.items():
    app.command(f"eventmark.cli.{place}", name=place.partition(":")[2], help=summary)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The program's entry point."""
    sys.exit(run_command(sys.argv[1:] if arguments is None else arguments))


def run_command(arguments: Sequence[str]) -> int:
    """The exit code of a command line. Prints what there is to say; raises nothing."""
    console = Console(stderr=True, highlight=False)
    try:
        answer = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
        return answer if isinstance(answer, int) else 0
    except CycloptsError as error:
        console.print(f"eventmark: {str(error).partition(chr(10))[0]}", markup=False)
        console.print("  eventmark --help lists verbs and flags", markup=False)
        return UsageError.exit_code
    except EventmarkError as error:
        console.print(f"eventmark: {error.message}", markup=False, soft_wrap=True)
        if error.remedy:
            console.print(f"  {error.remedy}", markup=False, soft_wrap=True)
        return error.exit_code
    except KeyboardInterrupt:
        console.print("eventmark: interrupted")
        return EventmarkError.exit_code
    except BrokenPipeError:
        # The reader went away; what is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EventmarkError.exit_code


if __name__ == "__main__":
    main()
