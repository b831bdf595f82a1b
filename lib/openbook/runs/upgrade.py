"""Upgrade of files other than books: nothing sealed changes, and older files stay readable.

Older runs name a commit instead of their sources: their library is kept, so that they can be replayed without the
repository. A desk from before desks had a marker file gets one.
"""

from pathlib import Path

from openbook.common.desk_folder import FILE, desk_or_none, is_unmarked
from openbook.common.errors import UsageError
from openbook.common.files import replace_file, storage
from openbook.runs import libraries
from openbook.runs.runs_folder import RunsFolder, read_run

MARKER = b"""# This folder is a desk: commands given anywhere below it work on its notebooks, params and runs.
format: 1
"""
SHORT = 12  # characters of a commit that a person compares


def mark_desk(folder: Path) -> str:
    """Write the marker file into a folder with notebooks/ and params/, unless it is a desk already; what was done.

    Raises UsageError (64) for another folder.
    """
    if not is_unmarked(folder):
        if (desk := desk_or_none()) is not None:
            return f"desk {desk}: already marked"
        raise UsageError(f"{folder} is not a desk of an older openbook (no notebooks/ and params/); change into one")
    with storage(f"mark {folder} as a desk"):
        replace_file(folder / FILE, MARKER)
    return f"desk {folder}: marked with {FILE}"


def keep_libraries(runs: Path) -> list[str]:
    """Keep the library of every commit that older runs name; what was kept, and what could not be had, in words."""
    made = [(run, read_run(run.folder)["code"]) for run in RunsFolder(runs).list()]
    older = {run: code for run, code in made if "sources" not in code}
    commits = {code["commit"] for code in older.values() if code["commit"] and not code["modified"]}
    missing = libraries.keep_commits(runs, commits)
    lost = [f"commit {commit[:SHORT]} is not in a repository here" for commit in missing]
    n = sum(1 for code in older.values() if code["modified"] or not code["commit"])
    lost += [f"{n} were made from uncommitted code"] if n else []
    head = f"libraries: {len(older)} older runs, from {len(commits)} commits"
    return [head, *(f"  cannot be replayed with the original code: {line}" for line in lost)]
