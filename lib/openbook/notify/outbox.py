"""Unsent messages: one small file each, retried until every channel has it or a day has passed.

A message is in the outbox before anything is sent, and marked after it was sent: a crash in between sends it once more,
with the same id, and never loses it. Only one process delivers at a time. Without a configured channel nothing is kept.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from openbook.common.errors import AuditError, OpenbookError
from openbook.common.files import make_folder, read_itself, replace_file, storage
from openbook.common.locks import held
from openbook.common.secrets import redact
from openbook.runs.message_queue import GIVEN_UP, SENT, WAITING, count_waiting, entries, read_entry
from openbook.runs.runs_folder import OUTBOX, RunsFolder, read_run
from openbook.runs.stage import json_bytes
from openbook.runs.verification import require_as_logged

if TYPE_CHECKING:
    from openbook.notify.channels import Channel, Refused
    from openbook.notify.message import Message

HEARTBEAT = "heartbeat.json"
MINUTES = (1, 5, 15, 60, 240)  # after a failed try; then every HOURLY
HOURLY = 60
PATIENCE = timedelta(days=1)  # since it was queued
LONGEST_WAIT = timedelta(days=1)  # that a server may ask for


@dataclass(frozen=True)
class DeliveryReport:
    """What a delivery did: lines to say, and how many messages some channel still waits for."""

    lines: tuple[str, ...] = ()
    waiting: int = 0


def enqueue(runs: Path, message: "Message", now: datetime) -> bool:
    """Put a message into the outbox, for every configured channel; False if it is there already, or none is configured.

    now : when it is queued, with a time zone; the date of its mail. The caller holds the lock of the runs folder, or is
        the only one who reports this.
    """
    from openbook.notify.channels import configured

    file, names = runs / OUTBOX / f"{message.id}.json", sorted(configured())
    if not names or file.exists():
        return False
    moment = _text(now)
    state = {"status": WAITING, "tries": 0, "next_try": moment, "error": "", "left": []}
    content = {
        "id": message.id,
        "kind": message.kind,
        "date": message.date,
        "subject": message.subject,
        "alarm": message.alarm,
        "marked": False,
        "queued": moment,
        "recipe": message.recipe,
        "channels": dict.fromkeys(names, state),
    }
    with storage(f"write {file}"):
        make_folder(file.parent)
        replace_file(file, json_bytes(content))
    return True


def catch_up(runs: Path, now: datetime) -> bool:
    """Queue the message of the latest sealed daily run, if a crash came between sealing and queueing it."""
    from openbook.notify.channels import configured

    latest = RunsFolder(runs).latest("daily_run")
    if latest is None or not configured():
        return False
    from openbook.notify.message import compose, run_id

    require_as_logged(runs, latest)
    if (runs / OUTBOX / f"{run_id(read_run(latest))}.json").exists():
        return False
    return enqueue(runs, compose(latest), now)


def tell(runs: Path, now: datetime, *messages: "Message") -> DeliveryReport:
    """Queue these messages and any missed before, then deliver what is due. The last step of a command.

    Raises AuditError (90), after everything else is sent, if a run whose message was missed is not the one in the log.
    """
    for message in messages:
        enqueue(runs, message, now)
    try:
        catch_up(runs, now)
    except AuditError:
        deliver(runs, now)
        raise
    return deliver(runs, now)


def deliver(runs: Path, now: datetime) -> DeliveryReport:
    """Send what is due, alarms first, oldest first. It never raises for a channel that fails: the outbox keeps it.

    An undeliverable alarm leaves a file ALERT-<date>.txt in the runs folder, until a channel takes it.
    """
    if not (runs / OUTBOX).is_dir():
        return DeliveryReport()
    from openbook.notify.channels import configured

    with _alone(runs) as mine:
        if not mine:
            return DeliveryReport(("another process is sending the outbox",), count_waiting(runs))
        channels, lines = configured(), []
        down: set[str] = set()
        for entry in sorted(entries(runs), key=lambda entry: (not entry["alarm"], entry["queued"], entry["id"])):
            lines += _deliver_one(runs, entry, channels, down, now)
        return DeliveryReport(tuple(lines), count_waiting(runs))


def status_lines(runs: Path, now: datetime) -> list[str]:
    """Unsent messages, those given up in the last week, and the last heartbeat; small files only."""
    lines, week = [], _text(now - timedelta(days=7))
    for entry in entries(runs):
        for name, state in sorted(entry["channels"].items()):
            if state["status"] == WAITING:
                lines.append(f"waits     {name}: {entry['subject']}, next try {state['next_try']}{_why(state)}")
            elif state["status"] == GIVEN_UP and entry["queued"] >= week:
                lines.append(
                    f"not sent  {name}: {entry['subject']}, gave up after {state['tries']} attempts{_why(state)}"
                )
    broken = [path.name for path in sorted((runs / OUTBOX).glob("*.json")) if read_entry(path) is None]
    lines += [f"outbox    {name} cannot be read" for name in broken]
    return [*lines, *(f"alert     {path.name}" for path in sorted(runs.glob("ALERT-*.txt")))]


def beat(runs: Path, command: str, *, exit_code: int, date: str | None, now: datetime) -> None:
    """Note that a command ran, and how it ended: a dead-man check reads the age of heartbeat.json, and its exit code.

    Without a runs folder nothing is written: a mistyped --runs leaves nothing behind.
    """
    if not runs.is_dir():
        return
    file = runs / HEARTBEAT
    with storage(f"write {file}"):
        replace_file(file, json_bytes({"when": _text(now), "command": command, "exit_code": exit_code, "date": date}))


# ---- one message ----


def _deliver_one(runs: Path, entry: dict, channels: dict[str, "Channel"], down: set[str], now: datetime) -> list[str]:
    """Try the channels of one message that are due; each result is on the disk before the next is tried."""
    late = now > datetime.fromisoformat(entry["queued"]) + PATIENCE
    states = {name: state for name, state in sorted(entry["channels"].items()) if name in channels or late}
    due = [name for name, state in states.items() if _is_due(state, now) and name not in down]
    if not due:
        return []
    from openbook.notify.channels import Refused

    lines, message = [], None
    for name in due:
        state = entry["channels"][name]
        try:
            if name not in channels:
                raise Refused(f"{name} is no longer configured", down=False)
            message = message or _again(runs, entry)
            channels[name].send(message, entry["queued"], tuple(state["left"]))
            state |= {"status": SENT, "tries": state["tries"] + 1, "next_try": "", "error": "", "left": []}
            lines.append(f"{name}: sent {entry['subject']}")
        except Refused as refused:
            _put_off(entry, name, refused, now, limit=channels[name].tries if name in channels else 1)
            lines.append(f"{name}: not sent, {state['status']} ({state['error']}): {entry['subject']}")
            if refused.down:
                down.add(name)
        _mark_alarm(runs, entry)
        _write(runs, entry)
    return lines


def _again(runs: Path, entry: dict) -> "Message":
    """The message of an entry; one that cannot be made any more is refused like by a server."""
    from openbook.notify.channels import Refused
    from openbook.notify.message import again

    try:
        made = again(runs, entry["kind"], entry["date"], entry["recipe"])
    except (OpenbookError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise Refused(f"the message cannot be created: {type(error).__name__}: {error}", down=False) from None
    if made.id != entry["id"]:
        raise Refused("its file in the outbox was altered: the content belongs to another message", down=False)
    return made


def _put_off(entry: dict, name: str, refused: "Refused", now: datetime, *, limit: int) -> None:
    """When to try a channel again, or never: after a day, or after `limit` tries where there is a limit."""
    state = entry["channels"][name]
    tries = state["tries"] + 1
    wait = timedelta(minutes=MINUTES[tries - 1] if tries <= len(MINUTES) else HOURLY)
    if refused.retry_after is not None:
        wait = min(timedelta(seconds=min(refused.retry_after, 1e9)), LONGEST_WAIT)
    over = (limit and tries >= limit) or now + wait > datetime.fromisoformat(entry["queued"]) + PATIENCE
    state |= {"tries": tries, "error": redact(str(refused)), "left": list(refused.left) or state["left"]}
    state |= {"status": GIVEN_UP, "next_try": ""} if over else {"status": WAITING, "next_try": _text(now + wait)}


def _mark_alarm(runs: Path, entry: dict) -> None:
    """Keep ALERT-<date>.txt for an alarm that every channel failed to take; remove it once one took it."""
    if not entry["alarm"]:
        return
    states, file = entry["channels"].values(), runs / f"ALERT-{entry['date']}.txt"
    reached, tried = any(s["status"] == SENT for s in states), all(s["tries"] for s in states)
    line = f"{entry['subject']}\nqueued {entry['queued']}, not delivered to anyone; id {entry['id']}\n"
    with storage(f"write {file}"):
        known = read_itself(file).decode() if file.is_file() and not file.is_symlink() else ""
        if tried and not reached and not entry["marked"]:
            replace_file(file, (known.replace(line, "") + line).encode())
            entry["marked"] = True
        elif reached and line in known:
            rest = known.replace(line, "")
            replace_file(file, rest.encode()) if rest else file.unlink()


def _is_due(state: dict, now: datetime) -> bool:
    """Whether a channel is to be tried now; one put off for longer than we ever do was put off by a wrong clock."""
    if state["status"] != WAITING or not state["next_try"]:
        return state["status"] == WAITING
    wait = datetime.fromisoformat(state["next_try"]) - now
    return wait <= timedelta(0) or wait > LONGEST_WAIT


def _why(state: dict) -> str:
    return f" ({state['error']})" if state["error"] else ""


def _text(moment: datetime) -> str:
    """UTC, ISO 8601, whole seconds; text that sorts by time."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00")


def _write(runs: Path, entry: dict) -> None:
    file = runs / OUTBOX / f"{entry['id']}.json"
    with storage(f"write {file}"):
        replace_file(file, json_bytes(entry))


@contextmanager
def _alone(runs: Path) -> Iterator[bool]:
    """Whether this process may deliver; a dead one holds nothing."""
    with held(runs / OUTBOX, runs / OUTBOX / ".lock") as holder:
        yield holder is None
