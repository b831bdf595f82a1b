"""Small things that the tests of the record share."""

from openbook.record.runs import RunsFolder, Stage

DATE = "2022-12-28"
OPEN = "from openbook.record.runs import open_stage\nrun = open_stage(stage)\nsession = date"
FINISH = "run.finish()"


def new_stage(runs: RunsFolder, date: str = DATE) -> Stage:
    """A stage of the daily run of one date."""
    return runs.stage("daily_run", date, profile="demo", params={"top_n": 3}, inputs_hash="ab" * 32)


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
