"""Storage of tuning studies: opened by several processes at once, and resumed after a crash."""

from __future__ import annotations

import re
import sqlite3
import time
from typing import TYPE_CHECKING, Any

from openbook.common.errors import StorageError
from openbook.common.extras import lacks

if TYPE_CHECKING:  # imported where used: it takes half a second, and most of what trains never tunes
    import optuna

WARMUP = 30  # trees before a trial may be given up
FILE, WAIT = "sqlite:///", 120  # seconds, while another process writes
AWKWARD = set("%?{}#")
_QUERY = re.compile(r"\?\w+=[^/]*$", re.ASCII)  # a query string, as in a URL
PEERS = 5  # finished trials before any may be given up


def open_study(url: str | None, name: str) -> optuna.Study:
    """The study of this name in the storage of this URL, resumed if it exists; in memory without a URL."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)  # it logs each trial, and every resumed study
    pruner = optuna.pruners.MedianPruner(n_startup_trials=PEERS, n_warmup_steps=WARMUP)
    how: dict[str, Any] = {"direction": "maximize", "pruner": pruner, "load_if_exists": True}
    return optuna.create_study(storage=_open_storage(url), study_name=name, **how)


def _open_storage(url: str | None, *, tries: int = 50) -> optuna.storages.BaseStorage:
    """The storage of this URL; its tables are made if it is new.

    Several processes may open a new file at once: all find no tables, all make them, and those that come second
    get an error. They try again and find them.
    """
    import optuna
    from sqlalchemy import exc

    if url is None:
        return optuna.storages.InMemoryStorage()
    shown = re.sub(r"://[^/@]*@", "://***@", url)  # a database's password belongs in no log
    url, how = _by_path(url)
    for attempt in range(tries):
        try:
            return optuna.storages.RDBStorage(url, engine_kwargs=how)
        except (exc.OperationalError, exc.IntegrityError, exc.ProgrammingError, AssertionError) as error:
            reason = " ".join(str(error).split("\n")[0].split())
            if not (attempt + 1 < tries and _met_another(error)):
                raise StorageError(f"cannot open the tuning storage {shown}: {reason}; check its folder") from error
        except (exc.ArgumentError, ImportError) as error:
            if isinstance(error, ImportError) and url.startswith("postgresql"):
                raise lacks("postgres", f"the tuning storage {shown}") from error
            raise StorageError(
                f"{shown} is not a tuning storage: {type(error).__name__}; give a URL like sqlite:///tuning.db"
            ) from error
        time.sleep(0.1)
    raise StorageError(f"cannot open the tuning storage {shown} in {tries} tries")


def _by_path(url: str) -> tuple[str, dict]:
    """The URL that Optuna is given, and how its engine connects. A file is opened by its path as it is written: in a
    URL `?` begins a query and `%` an escape, and Optuna fills in what stands in braces."""
    if not url.startswith(FILE):
        return url, {}
    path = url.removeprefix(FILE)
    if not AWKWARD & set(path) or _QUERY.search(path):
        return url, {"connect_args": {"timeout": WAIT}}
    return f"{FILE}studies.db", {"creator": lambda: sqlite3.connect(path, timeout=WAIT, check_same_thread=False)}


def _met_another(error: Exception) -> bool:
    """Whether another process was making the same tables just now."""
    from sqlalchemy import exc

    busy = ("already exists", "locked", "UNIQUE")
    return isinstance(error, exc.IntegrityError | AssertionError) or any(word in str(error) for word in busy)


def fail_left_running(record: optuna.Study) -> None:
    """Close the trials of a process that died: they have no verdict, do not count, and are run again."""
    from optuna.trial import TrialState

    for trial in record.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        record.tell(trial.number, state=TrialState.FAIL)


def finished(record: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Finished trials, oldest first. One that failed by itself has a reason; one whose process died has none."""
    trials = record.get_trials(deepcopy=False)
    return [t for t in trials if t.state.name in ("COMPLETE", "PRUNED") or _failed_by_itself(t)]


def _failed_by_itself(trial: optuna.trial.FrozenTrial) -> bool:
    return trial.state.name == "FAIL" and "error" in trial.user_attrs
