"""The papermill engine of openbook; imported only when a notebook runs, because papermill takes 0.7 s to import.

It runs on a kernel that was started before, saves the notebook once instead of twice per cell, and calls back.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import papermill
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines
from papermill.iorw import write_ipynb

from openbook.common.files import storage
from openbook.runs.kernel import Kernel

NAME = "openbook"
AUTOSAVE = 30  # seconds of running after which a half-finished notebook is worth a file
IOPUB_TIMEOUT = 60  # seconds that a busy machine may take to deliver an output

logging.getLogger("papermill").addHandler(logging.NullHandler())  # what it logs as an error, we raise


@dataclass(frozen=True)
class Job:
    """What the engine needs to know of one execution."""

    kernel: Kernel
    output: Path
    cell_timeout: float
    on_cell: Callable[[list, int], None]
    on_reply: Callable[[dict], None]


class Progress(NotebookExecutionManager):
    """papermill's record of an execution; papermill itself would write the file twice for every cell."""

    def save(self, **_) -> None:
        """Nothing yet: see `Engine`."""
        if self.start_time and (self.now() - self.last_save_time).total_seconds() > AUTOSAVE:
            self.write()

    def write(self) -> None:
        """Write the notebook as it is now."""
        with storage(f"write {self.output_path}"):
            write_ipynb(self.nb, str(self.output_path))
        self.last_save_time = self.now()


class Engine(NBClientEngine):
    """Runs the cells on a given kernel; however that ends, the notebook so far is on the stage."""

    @classmethod
    def execute_notebook(cls, nb, kernel_name, job: Job, **_):
        """What papermill calls; its own options are decided here."""
        _tidy(nb, job.output)
        progress = Progress(nb, output_path=job.output, progress_bar=False)
        progress.notebook_start()
        client = PapermillNotebookClient(
            progress,
            km=job.kernel.manager,
            kernel_name=kernel_name,
            timeout_func=lambda cell: job.cell_timeout,
            iopub_timeout=IOPUB_TIMEOUT,
            shell_timeout_interval=1,
            on_cell_start=lambda cell, cell_index: job.on_cell(nb.cells, cell_index),
            on_cell_executed=lambda cell, cell_index, execute_reply: job.on_reply(execute_reply["content"]),
        )
        try:
            client.execute()
        finally:
            if client.kc is not None:
                client.kc.stop_channels()
            progress.notebook_complete()
            progress.write()
        return nb


papermill_engines.register(NAME, Engine)


def run_papermill(notebook: Path, parameters: dict, job: Job) -> None:
    """Execute `notebook` with papermill; raises what papermill and nbclient raise."""
    source = str(notebook).replace("{", "{{").replace("}", "}}")  # papermill formats paths with the parameters
    papermill.execute_notebook(
        source, None, parameters=parameters, engine_name=NAME, kernel_name="python3", progress_bar=False, job=job
    )


def _tidy(nb, output: Path) -> None:
    """No folder and no random id in the notebook, so that two runs differ in times only."""
    nb.metadata.papermill["input_path"] = nb.metadata.papermill["output_path"] = output.name
    for cell in nb.cells:
        if "injected-parameters" in cell.metadata.tags:
            cell["id"] = "injected-parameters"
