"""A small desk whose one page prints, tabulates and draws, and a command that runs and seals it.

python -m support.small_desk FOLDER: runs the page in the desk at FOLDER and prints the sha256 of every sealed file.
"""

import hashlib
import json
import sys
from pathlib import Path

from openbook.common import desk_folder
from openbook.report.page import render_report
from openbook.runs.kernel import start_kernel
from openbook.runs.preload import FOR_NOTEBOOKS
from openbook.runs.provenance import own_cells
from openbook.runs.runner import execute_notebook
from openbook.runs.runs_folder import RunsFolder
from support.small_runs import DATE, FINISH, OPEN, cell

CELLS = (
    OPEN,
    "import numpy as np, pandas as pd\nfrom openbook.report import charts\nfrom openbook.report.elements import table",
    "import lightgbm, xgboost  # which read docstrings",
    "days = pd.bdate_range('2022-01-03', periods=90)\ncurve = pd.Series(np.linspace(1, 1.2, 90), days, name='book')",
    "table(pd.DataFrame({'symbol': ['NA', 'TRUE', 'é'], 'weight': [0.5, -0.25, 1 / 3]}), caption='Weights')",
    "charts.weights(pd.Series({'A': 0.4, 'CASH': 0.6}), pd.Series({'A': 0.5, 'B': 0.25, 'CASH': 0.25}))",
    "import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nax.plot(curve.index, curve)\n"
    "from openbook.report.elements import figure\nfigure(fig, 'A curve')",
    "print(sorted({'b', 'a', 'c'}), {'b', 'a', 'c'}, 1234.5678, days[0], curve.describe())",
    "run.record(verdict='2 orders', value=float(curve.sum()), local=pd.Timestamp(0).isoformat())\n"
    "run.table('numbers.csv', curve.rename_axis('date').reset_index())\nrun.write('text.txt', 'é\\n')",
    FINISH,
)


def make_desk(folder: Path) -> Path:
    """The desk in that folder."""
    for name in ("notebooks", "params", "runs"):
        (folder / name).mkdir(parents=True)
    (folder / desk_folder.FILE).write_text("format: 1\n")
    cells = [cell("# The page", 0), cell(f'date = "{DATE}"\nstage = None', 1, "parameters")]
    cells += [cell(text, number) for number, text in enumerate(CELLS, start=2)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    content = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (folder / "notebooks" / "daily_run.ipynb").write_text(json.dumps(content), encoding="utf-8")
    return folder


def seal_page(desk: Path) -> Path:
    """Run the page on a stage and seal it; its folder."""
    runs = RunsFolder(desk / "runs")
    stage = runs.stage("daily_run", DATE, profile="demo", params={}, inputs_hash="ab" * 32)
    notebook = desk / "notebooks" / "daily_run.ipynb"
    execute_notebook(notebook, stage, {"stage": str(stage.folder)}, kernel=start_kernel(FOR_NOTEBOOKS, cwd=desk))
    stage.write("report.html", render_report(stage.folder / notebook.name))
    return runs.seal(stage)


def digests(sealed: Path) -> dict[str, str]:
    """sha256 by name of what was sealed; of the notebook its own cells and their outputs, for papermill notes times
    and where the stage was."""
    found = {}
    for path in sorted(sealed.iterdir()):
        data = path.read_bytes()
        if path.suffix == ".ipynb":
            data = json.dumps([[cell["source"], cell.get("outputs")] for cell in own_cells(data)]).encode()
        found[path.name] = hashlib.sha256(data).hexdigest()
    return found


if __name__ == "__main__":
    print(json.dumps(digests(seal_page(Path(sys.argv[1])))))
