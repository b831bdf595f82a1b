import hashlib
from pathlib import Path


def run_digest(folder: Path) -> str:
    told = [
        f"{p.relative_to(folder).as_posix()} {hashlib.sha256(p.read_bytes()).hexdigest()}"
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    ]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def check_runs(runs):
    return []


def check_champions(runs, verify):
    return []


def check_cells(runs, repository):
    return [], []
