"""Random weeks of a desk whose parts are put back from backups: what does not belong together stops every command.

The law: a command that writes succeeds if every part is what the last command left, and else ends with 90 or 60 and
changes nothing; once a person accepted what is there, no order of before can leave.
"""

import shutil

import numpy as np
import pytest

from openbook.ledger import book_commands
from support.trained_desk import Terminal, clock, copied, hashes, openbook

PARTS = ("audit.jsonl", "books", "store", "daily_run", "production")
OFTEN, LONG = 3, 150


class Week:
    """A desk, its backups, and what each part is when everything agrees."""

    def __init__(self, desk, folder, monkeypatch, seed: int):
        self.desk, self.folder, self.monkeypatch = desk, folder, monkeypatch
        self.rng, self.backups, self.date = np.random.default_rng(seed), [], f"{desk.tonight:%Y-%m-%d}"
        self.told: list[str] = []
        self.good, self.accepted, self.n = self.state(), False, 0
        self.backup()

    def state(self) -> dict[str, dict]:
        """The content of each part; of the books the databases alone, for views are made again."""
        runs = self.desk.runs
        found = {part: hashes(runs / part) if (runs / part).is_dir() else self._file(runs / part) for part in PARTS}
        found["books"] = {name: sha for name, sha in found["books"].items() if name.endswith(".db")}
        return found

    def _file(self, path) -> dict:
        return {"": path.read_bytes()} if path.exists() else {}

    def command(self, *words: str):
        with clock(f"{self.date}T21:30Z"):
            return openbook("--runs", self.desk.runs, *words)

    def backup(self) -> None:
        place = self.folder / f"backup {len(self.backups)}"
        for part in PARTS:
            source = self.desk.runs / part
            place.mkdir(exist_ok=True)
            shutil.copytree(source, place / part) if source.is_dir() else shutil.copyfile(source, place / part)
        self.backups.append(place)

    def restore(self) -> None:
        place = self.backups[self.rng.integers(len(self.backups))]
        for part in self.rng.choice(PARTS, self.rng.integers(1, len(PARTS) + 1), replace=False):
            target = self.desk.runs / part
            shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
            source = place / part
            shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)

    def write(self) -> None:
        """One command that writes, and the law."""
        self.n += 1
        word = self.rng.choice(["cash", "halt", "reset", "approve", "reject"])
        person = ("--who", "Ann", "--reason", f"reason {self.n}")
        words = {
            "cash": ("cash", "deposit", "1", *person),
            "halt": ("halt", *person),
            "reset": ("reset", "--rearm", *person),
            "approve": ("approve", self.date, "--by", "Ann"),
            "reject": ("reject", self.date, "--by", "Ann", "--reason", "no"),
        }[word]
        if word == "approve":
            code = book_commands.read_batch(self.desk.book, self.date).code
            self.monkeypatch.setattr("sys.stdin", Terminal(f"{code}\n"))
        before = self.state()
        answer = self.command(*words)
        self.told.append(f"{word}: {answer.code} {answer.err.strip()}")
        if word == "halt":  # is obeyed whatever is wrong, and only then asks what agrees
            assert answer.code == 0, self.told
            assert "APPROVED" not in set(book_commands.read_batch(self.desk.book, self.date).orders["status"])
            self.good = self.state() if before == self.good else self.good
        elif before == self.good:
            assert answer.code in (0, 55, 64), self.told
            if word in ("cash", "reset"):
                assert answer.code == 0, self.told
            self.good = self.state()
        else:
            assert answer.code in (55, 60, 90), self.told
            assert self.state() == before, self.told
            assert self.command("verify").code == 90, self.told

    def export(self) -> None:
        """Nothing leaves from a desk whose parts do not agree, nor after a restore was accepted."""
        answer = self.command("export", self.date)
        self.told.append(f"export: {answer.code} {answer.err.strip()}")
        assert answer.code != 70, self.told
        if self.state() != self.good or self.accepted:
            assert answer.code, self.told

    def accept(self) -> None:
        agreed = self.state() == self.good
        answer = self.command("reset", "--restored", "--who", "Ann", "--reason", "disk died")
        self.told.append(f"accept: {answer.code} {answer.err.strip()}")
        assert answer.code == (64 if agreed else 0), self.told
        if not agreed:
            self.accepted, self.good = True, self.state()
            states = set(book_commands.read_batch(self.desk.book, self.date).orders["status"])
            assert not states & {"PENDING", "APPROVED"}, self.told
        assert "no problems" in self.command("verify").out, self.told

    def play(self, n: int) -> None:
        acts = {"write": 5, "backup": 2, "restore": 2, "export": 1, "accept": 1}
        odds = np.array(list(acts.values())) / sum(acts.values())
        for act in self.rng.choice(list(acts), n, p=odds):
            self.told.append(str(act))
            getattr(self, act)()


def play(by_hand_tonight, tmp_path, monkeypatch, seeds) -> None:
    for seed in seeds:
        folder = tmp_path / str(seed)
        week = Week(copied(by_hand_tonight, folder), folder, monkeypatch, seed)
        week.play(14)
        shutil.rmtree(folder)


def test_h07_random_restores(by_hand_tonight, tmp_path, monkeypatch):
    play(by_hand_tonight, tmp_path, monkeypatch, range(OFTEN))


@pytest.mark.long
def test_h07_random_restores_at_length(by_hand_tonight, tmp_path, monkeypatch):
    play(by_hand_tonight, tmp_path, monkeypatch, range(OFTEN, OFTEN + LONG))
