"""Earlier decisions, read back from sealed pages."""

import pandas as pd
import pytest

from openbook.common.errors import DataError
from openbook.runs.past_runs import target_weights
from openbook.runs.stage import csv_bytes, json_bytes

WEIGHTS = pd.DataFrame({"symbol": ["=A", "NA", "CASH"], "weight": [0.25, 0.25, 0.5]})


def seal(folder, date: str, table: pd.DataFrame = WEIGHTS, *, orders: int = 2, dry_run: bool = True):
    place = folder / "daily_run" / date
    place.mkdir(parents=True)
    (place / "run.json").write_bytes(json_bytes({"recorded": {"orders": orders}, "params": {"dry_run": dry_run}}))
    (place / "portfolio_weights.csv").write_bytes(csv_bytes(table))
    return str(place)


def test_decisions_up_to_a_page_as_they_were_written(tmp_path):
    seal(tmp_path, "2025-03-03")
    seal(tmp_path, "2025-03-04", orders=0)
    seal(tmp_path, "2025-03-05", dry_run=False)
    last = seal(tmp_path, "2025-03-06", pd.DataFrame({"symbol": ["B", "CASH"], "weight": [0.5, 0.5]}))
    seal(tmp_path, "2025-03-07")
    found = target_weights(last, dry_run=True)
    assert [f"{date:%d}" for date in found.index] == ["03", "06"]
    assert found.iloc[0].to_dict() == {"=A": 0.25, "NA": 0.25, "CASH": 0.5, "B": 0.0}
    assert target_weights(last, dry_run=False).index.day.tolist() == [5]


def test_without_a_page_there_is_no_decision(tmp_path):
    assert target_weights(None, dry_run=True).empty


def test_a_file_without_weights_is_named(tmp_path):
    folder = seal(tmp_path, "2025-03-03", pd.DataFrame({"symbol": ["A"], "weight": ["x"]}))
    with pytest.raises(DataError, match="portfolio_weights"):
        target_weights(folder, dry_run=True)
