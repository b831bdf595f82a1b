"""Imports that take seconds: leave out unused ones, and do the rest while another process is busy."""

import importlib
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

# jsonschema's optional checker of international addresses compiles its grammar whenever it is imported: 1.1 s of the
# 1.9 s that papermill takes, and of the 1.7 s that scrapbook takes. No notebook schema has such a field. There is no
# debugging of a kernel that runs headless, and ipykernel does without a debugger where none is installed: 0.2 s of each
# kernel.
UNUSED = ("rfc3987_syntax", "debugpy")

# What ipykernel imports when a kernel begins.
FOR_KERNELS = (
    "ipykernel.kernelapp",
    "ipykernel.debugger",
    "IPython.core.completerlib",
    "IPython.extensions.storemagic",
    "tornado.platform.asyncio",
    "tornado.queues",
)

# What our notebooks import, and what these import late: together most of the seconds of a daily run.
FOR_NOTEBOOKS = (
    "openbook.decision.decide",
    "openbook.decision.difference",
    "openbook.decision.rebalance",
    "openbook.report.charts",
    "openbook.app.inputs",
    "openbook.app.daily_page",
    "openbook.decision.order_rationale",
    "openbook.execution.implementation_shortfall",
    "openbook.app.revision_impact",
    "openbook.backtest.kernels",
    "openbook.portfolio.pypfopt_check",
    "openbook.monitoring.blocks",
    "openbook.signals.explain",
    "lightgbm",
    "matplotlib.figure",
    "pypfopt",
    "scrapbook",
)


@contextmanager
def lean_imports() -> Iterator[None]:
    """Inside, optional modules that nothing here uses appear to be missing."""
    hidden = [name for name in UNUSED if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: absent
    try:
        yield
    finally:
        for name in hidden:
            if sys.modules.get(name, ...) is None:
                del sys.modules[name]


def preload(modules: Iterable[str], *, warm: bool = False) -> None:
    """Import each module, so that it is there when it is needed; a missing one is left to the code that needs it.

    warm : also call the `warm_up` of each that has one; what fails there fails again, with a name, where it is needed
    """
    with lean_imports():
        for name in modules:
            try:
                module = importlib.import_module(name)
            except ImportError:
                continue
            if warm and hasattr(module, "warm_up"):
                with suppress(Exception):
                    module.warm_up()
    if "matplotlib" in sys.modules:
        _forget_user_style(sys.modules["matplotlib"])


def _forget_user_style(matplotlib) -> None:
    """Figures as matplotlib draws them by default, whatever a matplotlibrc of this user or folder says."""
    with warnings.catch_warnings(action="ignore"):  # of settings that matplotlib itself will drop
        defaults = dict(matplotlib.rcParamsDefault)
        matplotlib.rcParams.update({name: value for name, value in defaults.items() if name != "backend"})
