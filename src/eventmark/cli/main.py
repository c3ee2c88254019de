"""The command line: verbs to functions, errors to one line and an exit code.

Exit codes: 0 met, 1 broken, 2 usage or configuration, 3 inconclusive, 4 could not run.
"""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from cyclopts import App, CycloptsError, Group

from eventmark import __version__
from eventmark.cli.arguments import check_arguments
from eventmark.cli.output import console, drop_output, help_screen, tolerate_encodings
from eventmark.cli.settings_file import settings_file
from eventmark.errors import EventmarkError, UsageError
from eventmark.redaction import guarded_output, redact_text
from eventmark.text import one_line

app = App(
    name="eventmark",
    version=__version__,
    help="The proving ground for PostgreSQL event stores: will it hold, at production scale, without losing an event?",
)
# Named, not imported: every worker process imports this module anew, and needs none of what the verbs need.
_VERBS = {
    "Answer": {
        "certify:certify": "One question, one answer: every experiment that it takes, and a table of criteria.",
        "run:run": "Operations and plans: provision, seed, audit, measure, examine, judge, report.",
    },
    "Look closer": {
        "run:bench": "Measure the core operations on a corpus that is kept.",
        "load:load": "Load from many users, latency counted from when each operation was due.",
        "load:capacity": "The highest sustained rate at which every target holds.",
        "load:sweep": "Throughput and latency from 1 to 64 clients, and the law they follow.",
        "stream:stream": "Consumers at once and in segments, catching up, time from append to handled, cost of idling.",
        "pressure:stress": "Pools, contention, deadlocks, long transactions, checkpoints; the store verified after.",
        "pressure:soak": "Appends at a steady rate for long: memory, latency, tables and WAL over time.",
        "scale:scale": "One log grows: every operation and plan at each volume, the law of its growth.",
        "pressure:isolate": "A tenant alone, and while another burdens the server; what tenant filtering costs.",
        "run:explain": "Examine the plan of every statement.",
        "verify:verify": "Hunt for lost events: concurrent writers and consumers, every invariant checked.",
        "advise:advise": "Find improvements and try each: ranked advice, and runnable SQL.",
    },
    "Compare": {
        "gate:gate": "Is the candidate slower than the base? Both side by side, until the answer is clear.",
        "history:compare": "Compare two results.",
        "history:trend": "Steps and slow drift over a history of results.",
        "diagnose:report": "Show a result again and rewrite its reports.",
        "dashboards:dashboards": "Grafana dashboards, Prometheus rules, and a page over the history of results.",
    },
    "Bring and look after": {
        "stores:stores": "List the stores, make one of your own, check it.",
        "targets:targets": "List the operations of a store, and the target of each.",
        "corpus:seed": "Fill a store with a corpus and keep it.",
        "corpus:audit": "Prove from the table itself what is in a corpus.",
        "admin:admin": "Migrate a store, make its roles, rebase it after a restore; drop what Eventmark seeded.",
        "admin:store": "The old name of admin.",
    },
    "About the instrument": {
        "diagnose:doctor": "Whether this machine and server are fit to measure on.",
        "run:baselines": "The core operations compared with the same work by pgbench, the bare driver and a library.",
        "run:limits": "The old name of baselines.",
        "selfcheck:selfcheck": "Plant causes of known size and compare them with what the instrument measures.",
        "museum:museum": "Incidents from users of event stores: the faulty way is flagged, the sound way passes.",
    },
}
for _name, _verbs in _VERBS.items():
    _group = Group.create_ordered(_name)
    for _number, (_place, _summary) in enumerate(_verbs.items()):
        app.command(
            f"eventmark.cli.{_place}",
            name=_place.partition(":")[2],
            help=_summary,
            group=_group,
            sort_key=_number,
        )

VERBS = tuple(verb.partition(":")[2] for verbs in _VERBS.values() for verb in verbs)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The program's entry point."""
    end_as_by_the_keyboard()
    sys.exit(run_command(sys.argv[1:] if arguments is None else arguments))


def run_command(arguments: Sequence[str]) -> int:
    """The exit code of a command line. Prints what there is to say, without passwords; raises nothing."""
    tolerate_encodings()
    with guarded_output():
        return _run(arguments)


def _run(arguments: Sequence[str]) -> int:
    try:
        check_arguments(arguments)
        settings = settings_file(arguments, app, VERBS)
        app.config = () if settings is None else (settings,)
        answer = app(
            arguments,
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
            console=help_screen,
        )
        if sys.stdout is not None:
            sys.stdout.flush()
        return answer if isinstance(answer, int) else 0
    except CycloptsError as error:
        return _show(
            UsageError(str(error).partition("\n")[0], remedy="eventmark --help lists verbs and flags")
        )
    except EventmarkError as error:
        return _show(error)
    except KeyboardInterrupt:
        console.print("eventmark: interrupted")
        return EventmarkError.exit_code
    except BrokenPipeError:
        drop_output()
        return EventmarkError.exit_code
    except Exception as error:
        return _unforeseen(error)


def _show(error: EventmarkError) -> int:
    """One line for the thing that is wrong, one for what to do about it."""
    console.print(f"eventmark: {one_line(redact_text(error.message))}", soft_wrap=True)
    if error.remedy:
        console.print(f"  {one_line(redact_text(error.remedy))}", soft_wrap=True)
    return error.exit_code


def _unforeseen(error: Exception) -> int:
    """Never exit code 1, which is a verdict. A traceback for what is a defect of ours, and for that alone."""
    from eventmark.cli.failures import refusal  # needs the driver, which --help does not

    if (known := refusal(error)) is not None:
        if isinstance(error, OSError):
            drop_output()  # it may be the output itself that failed
        return _show(known)
    console.print(redact_text("".join(traceback.format_exception(error))), soft_wrap=True)
    console.print(
        "eventmark: this is a defect of Eventmark's own, please report it with the lines above",
        soft_wrap=True,
    )
    return EventmarkError.exit_code


def end_as_by_the_keyboard() -> None:
    """Let SIGTERM do what Ctrl-C does, and by the same way: a running event loop cancels what it does.

    Raised by its handler, an exception could come up in the middle of a driver's callback, which is C and not made for
    it. A background shell lets programs ignore the keyboard: that stays, and event loops have their way all the same.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    by_keyboard = signal.getsignal(signal.SIGINT)
    assert callable(by_keyboard)  # Python's own, or that of the event loop which is running
    by_keyboard(signal.SIGINT, frame)


if __name__ == "__main__":
    main()
