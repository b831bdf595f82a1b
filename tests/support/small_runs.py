"""Small things that the tests of the record share."""

import random
from pathlib import Path

from openbook.common.desk_folder import runs_key, state_folder
from openbook.runs import audit_log
from openbook.runs.runs_folder import RunsFolder, Stage
from openbook.runs.verification import run_digest

DATE = "2022-12-28"
OPEN = "from openbook.runs.runs_folder import open_stage\nrun = open_stage(stage)\nsession = date"
FINISH = "run.finish()"


def new_stage(runs: RunsFolder, date: str = DATE) -> Stage:
    """A stage of the daily run of one date."""
    return runs.stage("daily_run", date, profile="demo", params={"top_n": 3}, inputs_hash="ab" * 32)


def log_runs(folder: Path) -> None:
    """The log of a runs folder, made anew: it announced and has each sealed run as it is now."""
    (folder / audit_log.FILE).unlink(missing_ok=True)
    forget_head(folder)
    digests = {f"{run.notebook}/{run.folder.name}": run_digest(run.folder) for run in RunsFolder(folder).list()}
    announced = [("sealing", f"{subject} {digest[:16]}", digest) for subject, digest in digests.items()]
    sealed = [("run", subject, digest) for subject, digest in digests.items()]
    audit_log.record(folder, [*announced, *sealed], when="2022-12-28 22:00:00 UTC")


def forget_head(folder: Path) -> None:
    """Nothing of the log was seen on this machine before."""
    (state_folder() / f"head.{runs_key(folder)}").unlink(missing_ok=True)


def cell(text: str, number: int, *tags: str) -> dict:
    if text.startswith("# ") or text.startswith("## "):
        return {"cell_type": "markdown", "id": f"cell-{number}", "metadata": {}, "source": text}
    first, _, rest = text.partition("\n")
    if first.startswith("#tag "):
        tags, text = (*tags, first.removeprefix("#tag ")), rest
    return {
        "cell_type": "code",
        "id": f"cell-{number}",
        "metadata": {"tags": [*filter(None, tags)]},
        "source": text,
        "outputs": [],
        "execution_count": None,
    }


def hostile_texts(n: int) -> list[str]:
    """Markup, header breaks, directions, halves of characters, and noise, in any order."""
    pieces = [
        "<script>alert(1)</script>",
        "<SCRIPT",
        "\r\nBcc: x@y.z",
        "\n",
        "\x00",
        "\x1b[31m",
        "\u202e",
        "\u2028",
        "\x85",
    ]
    pieces += ["\u2028", "\ud800", "&lt;script&gt;", "'\"><img src=x onerror=alert(1)>", "=?utf-8?q?=0A?=", "AAPL"]
    pieces += ["<!channel>", "${x}", "{{1}}", "é", "中", "\U0001f600", " ", ".", "]]>", "<!--", "</style><script>"]
    chance = random.Random(5)
    return ["".join(chance.choices(pieces, k=chance.randint(1, 8))) for _ in range(n)]
