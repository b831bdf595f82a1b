"""Small notebooks, and a runs folder to run them in."""

import json
from pathlib import Path

import pytest
from record_lab import DATE, cell, new_stage

from openbook.record.runs import RunsFolder, Stage


@pytest.fixture
def runs(tmp_path) -> RunsFolder:
    """An empty runs folder."""
    return RunsFolder(tmp_path / "runs")


@pytest.fixture
def stage(runs) -> Stage:
    """A stage of the daily run."""
    return new_stage(runs)


@pytest.fixture
def write_notebook(tmp_path):
    """A function that writes daily_run.ipynb from its cells: code, or markdown where the text begins with #."""

    def write(*cells: str, parameters: str = f'date = "{DATE}"\nstage = None', tag: str = "parameters") -> Path:
        made = [cell("# The daily page", 0), cell(parameters, 1, tag)]
        made += [cell(text, number) for number, text in enumerate(cells, start=2)]
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        content = {"cells": made, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
        path = tmp_path / "daily_run.ipynb"
        path.write_text(json.dumps(content))
        return path

    return write
