"""The message about a run, a failure or a halt: subject, plain text, HTML, pictures and the page, for any channel.

A message is made from what is sealed, so it can be made again: the same run gives the same message with the same id.
Content of a notebook or an error is text here, or HTML that went through the cleaning of the page; styles stand on
the elements, because many mail programs drop style sheets, and one sheet adds dark mode and the phone.
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from openbook.common.errors import AuditError, UsageError
from openbook.common.secrets import redact
from openbook.common.text import printable
from openbook.runs import audit_log, verification, views
from openbook.runs.runs_folder import BOOKS, RunsFolder, check_date
from openbook.runs.stage import REPORT, RUN
from openbook.runs.witness import head_line

TAG = "mail"  # cells of a notebook whose outputs go into its message
SUBJECT = 140  # characters; more is cut by every mail program
HEADLINE = 80  # characters of an error beside its name; all of it follows
LONGEST = 4000  # characters of one paragraph
LARGEST = 60_000  # bytes of HTML, pictures apart: Gmail cuts a mail at 102 KB
RESERVE = 8_000  # of them for the head, the foot and the style
KINDS = {"HALTED": "stop", "REDUCE_ONLY": "warn"}  # style of a verdict, by the recorded state of the kill switch
LOOKS = ("ok", "warn", "stop")
_LEFT = re.compile(r" \(output kept in (.+)\)\Z", re.DOTALL)  # as `app.pipeline` ends an error
REST = "See the attached page for the rest."


@dataclass(frozen=True)
class Image:
    """A picture that the HTML shows as cid:<cid>."""

    cid: str
    png: bytes
    alt: str


@dataclass(frozen=True)
class Message:
    """Everything that any channel needs.

    id : sha256 in hex of its event; the same event always has the same
    kind : run, failure or alarm
    brief : the lines that a chat shows
    recipe : plain values from which `outbox` makes the same message again
    alarm : a person must be informed; see `outbox`
    """

    id: str
    kind: str
    date: str
    subject: str
    brief: tuple[str, ...]
    text: str
    html: str
    images: tuple[Image, ...] = ()
    attachment: bytes | None = None  # the page of a run
    recipe: dict = field(default_factory=dict)
    alarm: bool = False


@dataclass(frozen=True)
class Block:
    """One output of a notebook, for both forms of a mail."""

    text: str
    html: str
    image: Image | None = None


def compose(folder: Path, *, head: str | None = None, book: Sequence[str] | None = None) -> Message:
    """The message of a sealed run: its verdict, the outputs of its cells tagged `mail`, and what to do next.

    head : hash of the audit log's last entry; the present one if left out
    book : lines about the book, shown as they are; those of its summary if left out

    Raises AuditError (90), before anything of it is read, if the run is not the one in the log.
    """
    runs, notebook = folder.parent.parent, f"{folder.parent.name}.ipynb"
    files = verification.read_as_logged(runs, folder, (RUN, REPORT, notebook))
    run = json.loads(files[RUN])
    head, date = audit_log.head(runs) if head is None else head, one_line(run["date"])
    book = _book_lines(runs, run) if book is None else list(book)
    said, key = run["recorded"], run_id(run)
    verdict = redact("\n".join(str(said[name]) for name in ("verdict", "sentence") if said.get(name)) or "done")
    switch = said.get("switch")
    verdict = "\n".join([verdict, *_approval(book, date)])
    steps = [*book, f"Audit log head: {head_line(runs, head)}"]
    return _assemble(
        key,
        "run",
        date,
        verdict,
        look=KINDS.get(switch, said.get("look") if said.get("look") in LOOKS else "ok"),
        blocks=_blocks(files.get(notebook), key),
        steps=steps,
        attachment=files.get(REPORT),
        recipe={"run": f"{folder.parent.name}/{folder.name}", "head": head, "book": book},
        alarm=switch == "HALTED",
    )


def compose_failure(what: str, date: str, error: str, exit_code: int, *, left: str = "") -> Message:
    """The message of a failed attempt: what, why, and its folder. The same reason again is the same message.

    what : the command or notebook
    left : the folder with the attempt's files, if any; the end of an error may name it, too
    """
    if found := _LEFT.search(error):
        error, left = error[: found.start()], found[1]
    error = redact(error)
    said = one_line(error, HEADLINE)
    rest = "" if said == error else f"\n{error}"
    steps = [f"Output of the failed attempt: {left}"] if left else []
    steps += ["Check openbook status, fix the cause, then run the same command again: it is safe to repeat."]
    recipe = {"what": what, "error": error, "exit_code": exit_code, "left": left}
    return _assemble(
        _id("failure", what, date, str(exit_code), error),
        "failure",
        date,
        f"{what} FAILED (exit {exit_code}): {said}{rest}",
        look="stop",
        steps=steps,
        recipe=recipe,
    )


def compose_alarm(title: str, date: str, lines: Sequence[str] = (), *, event: str = "") -> Message:
    """The message of a halt, or of another alarm.

    event : what makes it this one alarm, such as the hash of an event of the book; else its own text does
    """
    check_date(date)  # it becomes part of a file's name
    title, lines = redact(str(title)), [redact(str(line)) for line in lines]
    key = _id("alarm", date, *([event] if event else [title, *lines]))
    recipe = {"title": title, "lines": lines, "event": event}
    said = "\n".join([one_line(title, LONGEST), *lines])
    return _assemble(key, "alarm", date, said, look="stop", steps=[], recipe=recipe, alarm=True)


def run_id(run: dict) -> str:
    """The id of the message of a run, from its run.json."""
    return _id("run", run["notebook"], run["date"], run["inputs_hash"])


def again(runs: Path, kind: str, date: str, recipe: dict) -> Message:
    """The message that had this recipe, made again.

    A recipe lies in a file that may be forged: UsageError (64) unless it names a sealed run of this folder, AuditError
    (90) unless the log has the run and the head.
    """
    if kind == "run":
        sealed = {f"{run.notebook}/{run.folder.name}": run.folder for run in RunsFolder(runs).list()}
        if recipe["run"] not in sealed:
            raise UsageError(f"{one_line(str(recipe['run']))} is not a sealed run of {runs}")
        if recipe["head"] not in {audit_log.GENESIS, *(entry["hash"] for entry in audit_log.entries(runs))}:
            raise AuditError(f"the log has no entry with the hash {one_line(str(recipe['head']))}")
        return compose(sealed[recipe["run"]], head=recipe["head"], book=recipe["book"])
    if kind == "failure":
        return compose_failure(recipe["what"], date, recipe["error"], recipe["exit_code"], left=recipe["left"])
    return compose_alarm(recipe["title"], date, recipe["lines"], event=recipe["event"])


def one_line(text: str, longest: int = SUBJECT) -> str:
    """Text for a header: one line, no control or direction characters (N05), cut with … where it is too long."""
    clean = " ".join(printable(text).split())
    return clean if len(clean) <= longest else clean[: longest - 1].rstrip() + "…"


def _id(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


# ---- what it is made of ----


def _book_lines(runs: Path, run: dict) -> list[str]:
    """The orders of that session from the summaries of the books: how many, until when, and their batch."""
    places = sorted(path for path in (runs / BOOKS).glob("*") if path.is_dir())
    lines = [line.strip() for place in places for line in views.summary(place)]
    for number, line in enumerate(lines):
        if run["notebook"] == "daily_run" and line.startswith(f"orders of {run['date']}:"):
            return [line, *(after for after in lines[number + 1 : number + 2] if after.startswith("batch "))]
    return []


def _approval(book: Sequence[str], date: str) -> list[str]:
    """How to approve, if orders are pending."""
    return [f"To approve: openbook approve {date} --by NAME, or --token FILE"] if "PENDING" in " ".join(book) else []


def _blocks(notebook: bytes | None, key: str) -> list[Block]:
    """The outputs of the cells tagged `mail`, in order."""
    if notebook is None:
        return []
    cells = json.loads(notebook)["cells"]
    tagged = [cell for cell in cells if TAG in cell["metadata"].get("tags", []) and cell["cell_type"] == "code"]
    outputs = [output for cell in tagged for output in cell["outputs"]]
    shown = [output for output in outputs if output["output_type"] in ("display_data", "execute_result")]
    return [_block(output, f"{key[:16]}.{number}") for number, output in enumerate(shown)]


def _block(output: dict, name: str) -> Block:
    """One output: a picture as a part of the mail, HTML cleaned like the page's, all else as text."""
    data = {mime: "".join(said) if isinstance(said, list) else said for mime, said in output["data"].items()}
    text = "\n".join(printable(line).rstrip() for line in str(data.get("text/plain", "")).splitlines())
    if "image/png" in data:
        alt = one_line(output.get("metadata", {}).get("image/png", {}).get("alt") or text, LONGEST)
        image = Image(f"{name}@openbook", base64.b64decode(data["image/png"]), alt)
        return Block(f"[{alt}]", _picture(image), image)
    if "text/html" in data:
        from openbook.report.mail_html import clean_and_inline  # nbconvert takes 0.5 s to import

        return Block(text, clean_and_inline(data["text/html"]))
    return Block(text, f'<pre style="white-space:pre-wrap;font-size:13px">{html.escape(text[:LONGEST])}</pre>')


def _picture(image: Image) -> str:
    style = "display:block;width:100%;max-width:640px;height:auto;border:0;border-radius:8px;background:#ffffff"
    return f'<img src="cid:{image.cid}" alt="{html.escape(image.alt)}" width="640" style="{style}">'


# ---- putting it together ----


def _assemble(
    key: str,
    kind: str,
    date: str,
    verdict: str,
    *,
    look: str,
    steps: Iterable[str],
    recipe: dict,
    blocks: Sequence[Block] = (),
    attachment: bytes | None = None,
    alarm: bool = False,
) -> Message:
    """Verdict first, then the blocks, then what to do."""
    from openbook.report.mail_html import page

    said = [printable(line)[:LONGEST] for line in verdict.splitlines() if line.strip()] or ["done"]
    steps, date = [one_line(step, LONGEST) for step in steps], one_line(date)
    subject = one_line(f"[openbook] {date} · {said[0]}")
    kept = _that_fit(blocks)
    cut = [REST] if len(kept) < len(blocks) else []
    parts = [*said, *(block.text for block in kept), *cut, "\n".join(steps)]
    return Message(
        id=key,
        kind=kind,
        date=date,
        subject=subject,
        brief=(*said, *steps),
        text="\n\n".join(part for part in parts if part) + "\n",
        html=page(subject, date, said, look=look, blocks=[block.html for block in kept] + cut, steps=steps),
        images=tuple(block.image for block in kept if block.image is not None),
        attachment=attachment,
        recipe=recipe,
        alarm=alarm,
    )


def _that_fit(blocks: Sequence[Block]) -> list[Block]:
    """The first blocks whose HTML stays below the limit."""
    kept, size = [], RESERVE
    for block in blocks:
        size += len(block.html.encode())
        if size > LARGEST:
            break
        kept.append(block)
    return kept
