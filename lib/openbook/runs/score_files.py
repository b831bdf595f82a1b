"""A desk's own scores as a session read them, kept by their hash: a replay does not need the desk's file."""

import hashlib
import io
from pathlib import Path

from openbook.common.files import make_folder, replace_file, storage

FOLDER = "scores"


def keep(runs: Path, table) -> Path:
    """Write the rows to scores/<sha256>.parquet, unless they are there; returns it. Equal rows give equal bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(table, preserve_index=False), buffer, compression="zstd")
    data = buffer.getvalue()
    target = runs / FOLDER / f"{hashlib.sha256(data).hexdigest()}.parquet"
    if not _is_whole(target):
        with storage(f"keep the scores in {target}"):
            make_folder(target.parent)
            replace_file(target, data)
    return target


def check(runs: Path) -> list[str]:
    """What was altered among the kept scores, in words."""
    altered = [path for path in sorted((runs / FOLDER).glob("*.parquet")) if not _is_whole(path)]
    return [f"{FOLDER}/{path.name} was altered: its content does not match the hash in its name" for path in altered]


def _is_whole(file: Path) -> bool:
    return file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == file.stem
