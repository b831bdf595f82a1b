"""URLs: a scheme whose package is missing names the extra, and what a service raises is bad data, not a bug."""

import subprocess
import sys
import tomllib

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from packaging.requirements import Requirement

from openbook.common.errors import DataError
from openbook.market.sources.reading import REMOTE, column_names, file_bytes, list_files, read_table
from support import environment

PACKAGES = {"http": "aiohttp", "https": "aiohttp", "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs",
            "abfs": "adlfs", "az": "adlfs"}  # fmt: skip
HIDDEN = """
import sys
sys.modules.update(dict.fromkeys(["aiohttp", "s3fs", "gcsfs", "adlfs"]))  # None: as if it were not installed
from openbook.cli import main
for scheme in sys.argv[1:]:
    print(main(["data", "check", f"{scheme}://user:secret@place/prices.csv"]), flush=True)
"""


def test_the_extra_declares_a_package_for_each_scheme(project_root):
    project = tomllib.loads((project_root / "pyproject.toml").read_text())["project"]
    declared = {Requirement(text).name for text in project["optional-dependencies"]["remote"]}
    assert set(PACKAGES) == REMOTE
    assert set(PACKAGES.values()) == declared


def test_a_missing_package_names_the_extra_for_each_scheme():
    line = [sys.executable, "-c", HIDDEN, *sorted(REMOTE)]
    done = subprocess.run(line, capture_output=True, text=True, env=environment(), check=True)
    assert done.stdout.split() == ["78"] * len(REMOTE)
    lines = done.stderr.splitlines()
    for scheme, said in zip(sorted(REMOTE), lines, strict=True):
        assert f"{scheme}://" in said
        assert said.endswith("pip install 'openbook[remote]'")
        assert "secret" not in said


class Vault(fsspec.AbstractFileSystem):
    """A file system whose service wants a key, and says so with an error of its own."""

    protocol = "vault"

    class KeyMissing(Exception):
        """Neither an OSError nor a ValueError."""

    def info(self, path, **_):
        raise self.KeyMissing("no credentials for the vault")

    def ls(self, path, detail=True, **_):
        raise self.KeyMissing("no credentials for the vault")

    def _open(self, path, *_, **__):
        raise self.KeyMissing("no credentials for the vault")


@pytest.mark.parametrize("ask", [list_files, column_names, file_bytes, lambda url: read_table(url, {"close": "close"})])
def test_what_a_service_raises_is_bad_data(ask):
    fsspec.register_implementation("vault", Vault, clobber=True)
    with pytest.raises(DataError, match=r"cannot read vault://place/x\.csv: KeyMissing: no credentials for the vault"):
        ask("vault://place/x.csv")


def test_a_url_is_read_like_a_file():
    with fsspec.open("memory://desk/prices.csv", "w") as file:
        file.write("symbol,close\nNA,1.5\n")
    table = read_table("memory://desk", {"symbol": "symbol", "close": "close"})
    assert table.to_dict("list") == {"symbol": ["NA"], "close": [1.5]}


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    (tmp_path / "x.csv").write_text("symbol,close,close\nA,1,2\n")
    with pytest.raises(DataError, match=r"x\.csv has the column 'close' 2 times; keep one of them"):
        read_table(str(tmp_path / "x.csv"), {"symbol": "symbol", "close": "close"})


@pytest.mark.parametrize("year", [-5000, 20_000])
def test_a_date_beyond_what_can_be_written_is_refused(tmp_path, year):
    days = np.array([0, year - 1970], dtype="datetime64[Y]").astype("datetime64[us]")
    pq.write_table(pa.table({"symbol": ["A", "A"], "date": pa.array(days)}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=rf"x\.parquet has a date in the year {year}, in row 2"):
        read_table(str(tmp_path / "x.parquet"), {"symbol": "symbol", "date": "date"})
