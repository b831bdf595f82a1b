"""Reports how a command ended: messages to people, a heartbeat for monitoring, and an exit code."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from openbook.common.errors import DataNotReady, LockError, OpenbookError, Undelivered, UsageError
from openbook.market import calendar
from openbook.notify import channels, message, outbox
from openbook.runs import audit_log
from openbook.runs.runs_folder import RunsFolder
from openbook.runs.timestamps import stamp

Say = Callable[[str], None]
# Retryable, or a person is at the terminal: no alarm needed; but see `late_prices`.
QUIET = (DataNotReady.exit_code, LockError.exit_code, UsageError.exit_code)


def watched(runs: Path, command: str, date: str, act: Callable[[], int], say: Say) -> int:
    """Run a command, then report how it ended; its exit code, or 80 if it is 0 and a message is unsent.

    A mistake in a channel's settings ends it before it begins. Whether a message was sent changes nothing of
    what was done. An error of `act` is reported, and raised again.
    """
    channels.configured()
    try:
        code = act()
    except Exception as error:
        code = getattr(error, "exit_code", OpenbookError.exit_code)
        with suppress(OpenbookError):  # the first error is the one that counts
            _tell_failure(runs, command, date, str(error), code)
            outbox.beat(runs, command, exit_code=code, date=date, now=calendar.now())
        raise
    late = deliver(runs, say)
    code = code or late
    outbox.beat(runs, command, exit_code=code, date=date, now=calendar.now())
    return code


def deliver(runs: Path, say: Say) -> int:
    """Send unsent messages, and have the log's head stamped where that is set up; 80 if something remains, else 0."""
    done = outbox.tell(runs, calendar.now(), *late_prices(runs))
    for line in done.lines:
        say(line)
    try:
        stamp(runs)
    except Undelivered as error:
        say(str(error))
        return Undelivered.exit_code
    return Undelivered.exit_code if done.waiting else 0


def alarm(runs: Path, title: str, reason: str, say: Say) -> None:
    """Notify all channels that a person halted the books; an undeliverable message leaves a file ALERT-<date>.txt."""
    now = calendar.machine_now()  # of the halt
    lines = [reason, "To resume: openbook reset --who NAME --reason WHY"]
    try:
        event = audit_log.head(runs)
    except OpenbookError:  # a damaged log must not keep a halt from being told
        event = f"{now}"
    told = message.compose_alarm(title, f"{now:%Y-%m-%d}", lines, event=event)
    for line in outbox.tell(runs, now, told).lines:
        say(line)


def late_prices(runs: Path) -> list[message.Message]:
    """The one message of a session whose prices came too late to act upon; none before, and none once it is sealed.

    It has the same id at every call, so the outbox takes it once.
    """
    waits = RunsFolder(runs).waits("daily_run")
    if waits is None:
        return []
    date, note = waits
    following = calendar.next_session(date)
    if not (calendar.now() >= calendar.prices_deadline(date) and calendar.last_closed() <= following):
        return []  # still time; or long ago, as in a run of a past session
    title = f"no prices of {date} by {note['until']}: no daily page and no orders"
    steps = [str(note.get("why", "")), f"Ask the vendor, then run: openbook run daily_run --date {date}"]
    return [message.compose_alarm(title, date, steps, event="late prices")]


def _tell_failure(runs: Path, command: str, date: str, error: str, code: int) -> None:
    if not (channels.configured() and runs.is_dir()):
        return
    if code == DataNotReady.exit_code and (late := late_prices(runs)):
        outbox.tell(runs, calendar.now(), *late)
    if code not in QUIET:
        outbox.tell(runs, calendar.now(), message.compose_failure(command, date, error, code))
