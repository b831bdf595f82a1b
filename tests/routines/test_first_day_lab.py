"""The first hour of a stranger, with real parts: a clone by git, the demo by its command, JupyterLab in a browser.

`pytest -m long -n0 tests/routines/test_first_day_lab.py`, some ten minutes. What follows the first hour is in
test_first_day.
"""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from openbook.common import desk_folder
from support.programs import driver, need
from support.trained_desk import hashes, make_vendor

pytestmark = pytest.mark.long
MINUTES = 60_000  # milliseconds


@pytest.fixture(scope="module")
def clone(tmp_path_factory, project_root) -> Path:
    """A clone of this repository; its library comes first for whatever is started in it."""
    folder = tmp_path_factory.mktemp("first") / "openbook"
    done = subprocess.run(["git", "clone", "--quiet", project_root, folder], capture_output=True, text=True)
    if done.returncode or not (folder / desk_folder.FILE).is_file():
        pytest.skip(f"this is no git checkout with a marker file: {done.stderr}")
    return folder


def environment(clone: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENBOOK_")}
    return kept | {"PYTHONPATH": str(clone / "lib"), "XDG_CONFIG_HOME": str(clone.parent / "config")}


def command(clone: Path, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
    line = [sys.executable, "-m", "openbook.cli", *words]
    return subprocess.run(line, cwd=cwd or clone, env=environment(clone), capture_output=True, text=True)


def test_the_demo_shows_its_progress_and_leaves_a_desk_in_order(clone):
    done = command(clone, "demo")
    assert done.returncode == 0, done.stderr
    assert "[23/23] daily_run of 2017-09-15" in done.stdout
    assert "Candidates × folds" in done.stderr  # no terminal: a line now and then
    status = command(clone, "status", cwd=clone / "notebooks" / "guides")
    assert status.returncode == 0
    assert f"runs      {clone / 'runs'}" in status.stdout
    assert "VOID" not in status.stdout
    assert command(clone, "verify").returncode == 0


def test_ones_own_prices_do_not_meet_the_demos_positions(clone):
    vendor = make_vendor(clone / "runs" / "vendor")
    vendor.deliver(vendor.files)
    before = hashes(clone / "runs" / "books")
    for notebook in ("train_candidates", "daily_run"):
        refused = command(clone, "run", notebook, "--profile", "vendor", "--date", "2024-06-27")
        assert refused.returncode == 78, refused.stdout + refused.stderr
        assert "openbook --runs FOLDER" in refused.stderr
    assert hashes(clone / "runs" / "books") == before


@pytest.fixture
def lab(clone):
    """The address of a JupyterLab that runs in the clone."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--no-browser", f"--port={port}", "--ServerApp.token=", "--ServerApp.password=", "--allow-root"]
    line = [sys.executable, "-m", "jupyterlab", *options, "--ServerApp.open_browser=False"]
    with open(clone.parent / "lab.log", "w") as log:
        server = subprocess.Popen(line, cwd=clone, env=environment(clone), stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{address}/api", timeout=5)
                break
            except OSError:
                time.sleep(0.25)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=30)


def code_cells(notebook: Path) -> list[dict]:
    return [cell for cell in json.loads(notebook.read_bytes())["cells"] if cell["cell_type"] == "code"]


def has_run(notebook: Path) -> bool:
    """Whether a notebook was saved after its last cell had run."""
    return code_cells(notebook)[-1]["execution_count"] is not None


def test_run_all_in_jupyterlab_saves_a_guide_and_voids_no_order(clone, lab):
    chromium = need("chromium")
    sync = driver("chromium", "playwright.sync_api").sync_playwright
    guide = clone / "notebooks" / "guides" / "trade_execution.ipynb"
    with sync() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.goto(f"{lab}/lab/tree/notebooks/guides/trade_execution.ipynb", timeout=2 * MINUTES)
        page.locator(".jp-Notebook .jp-CodeCell").first.wait_for(timeout=2 * MINUTES)
        page.get_by_text("| Idle").first.wait_for(timeout=2 * MINUTES)  # its kernel is there
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name=re.compile("^Run All Cells")).click()
        deadline = time.monotonic() + 300
        while not has_run(guide) and time.monotonic() < deadline:
            page.wait_for_timeout(3_000)
            page.get_by_role("menuitem", name="File", exact=True).click()
            page.get_by_role("menuitem", name=re.compile("^Save Notebook( Ctrl|$)")).first.click()
            page.wait_for_timeout(500)
        browser.close()
    cells = code_cells(guide)
    assert sum(bool(cell["outputs"]) for cell in cells) > 10
    assert not [out for cell in cells for out in cell["outputs"] if out["output_type"] == "error"]
    assert "VOID" not in command(clone, "status").stdout
    assert command(clone, "export", "2017-09-15").stderr.count("the code changed") == 0
    tests = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-n0", "notebooks"]
    collected = subprocess.run(tests, cwd=clone, env=environment(clone), capture_output=True, text=True)
    assert ".ipynb_checkpoints" not in collected.stdout
