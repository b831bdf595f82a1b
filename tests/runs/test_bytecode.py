"""Bytecode that is not what its source compiles to is noticed, if Python would use it."""

import importlib.util
import os
import py_compile
import subprocess
import sys

import pytest

from openbook.common.errors import AuditError
from openbook.runs import bytecode
from openbook.runs.bytecode import require_faithful, unfaithful
from openbook.runs.provenance import EXTENSIONS

SOURCE, POISON = "def price():\n    return 1\n", "def price():\n    return 2\n"


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A desk with one module of its own, in the place of the library too."""
    (tmp_path / "openbook.yaml").write_text("format: 1\n")
    monkeypatch.setenv("OPENBOOK_DESK", str(tmp_path))
    monkeypatch.setattr(bytecode, "LIBRARY", tmp_path / "lib" / "openbook")
    file = tmp_path / EXTENSIONS / "mine.py"
    file.parent.mkdir(parents=True)
    file.write_text(SOURCE)
    return file


def compiled(file, text: str, mode=py_compile.PycInvalidationMode.TIMESTAMP):
    """The bytecode of `text`, in the place of that of `file`, with the time and size of `file`."""
    target = importlib.util.cache_from_source(str(file))
    other = file.with_name("other.py")
    other.write_text(text)
    stat = file.stat()
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    py_compile.compile(str(other), cfile=target, dfile=str(file), invalidation_mode=mode)
    other.unlink()
    return target


def imported(file) -> str:
    """What Python runs."""
    words = [
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, {str(file.parent)!r}); import mine; print(mine.price())",
    ]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("mode", ["TIMESTAMP", "UNCHECKED_HASH", "CHECKED_HASH"])
def test_poisoned_bytecode_is_named_where_python_would_run_it(module, mode):
    target = compiled(module, POISON, py_compile.PycInvalidationMode[mode])
    runs_poison = imported(module) == "2"
    assert runs_poison == (mode != "CHECKED_HASH")
    assert [str(path) for path in unfaithful()] == ([target] if runs_poison else [])
    if runs_poison:
        with pytest.raises(AuditError, match="was not compiled from its source"):
            require_faithful()


@pytest.mark.parametrize("mode", ["TIMESTAMP", "UNCHECKED_HASH", "CHECKED_HASH"])
def test_bytecode_of_the_source_is_fine(module, mode):
    compiled(module, SOURCE, py_compile.PycInvalidationMode[mode])
    require_faithful()


def test_bytecode_that_python_would_not_use_is_nobodys_business(module):
    compiled(module, POISON)
    module.write_text(SOURCE + "\n")
    require_faithful()
    assert imported(module) == "1"


def test_what_is_changed_after_it_was_compared_is_compared_again(module):
    compiled(module, SOURCE)
    require_faithful()
    compiled(module, POISON)
    assert len(unfaithful()) == 1


def test_rubbish_with_a_good_header_is_not_taken_for_code(module):
    target = compiled(module, SOURCE)
    data = open(target, "rb").read()  # noqa: SIM115
    with open(target, "wb") as file:
        file.write(data[:16] + b"\0" * 40)
    assert len(unfaithful()) == 1


def test_the_library_as_it_is_here_is_faithful(monkeypatch):
    monkeypatch.delenv("OPENBOOK_DESK", raising=False)
    require_faithful()
