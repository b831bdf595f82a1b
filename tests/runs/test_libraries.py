"""A library is kept once by its hash, is refused when altered, and comes back as it was."""

import zipfile

import pytest

from openbook.common.desk_folder import find_desk
from openbook.common.errors import AuditError
from openbook.runs import libraries, provenance

FILES = {"openbook/__init__.py": b"", "openbook/a/b.py": b"b = 1\n", "extensions/mine.py": b"mine = 2\n"}


def test_what_is_kept_comes_back_and_is_kept_once(tmp_path):
    digest = libraries.keep(tmp_path, FILES)
    file = tmp_path / "code" / f"{digest}.zip"
    before = file.stat().st_mtime_ns, file.read_bytes()
    assert libraries.keep(tmp_path, FILES) == digest
    assert (file.stat().st_mtime_ns, file.read_bytes()) == before
    assert libraries.kept(tmp_path, digest) == FILES
    assert digest == provenance.sources_digest(FILES)


def test_the_same_library_gives_the_same_bytes(tmp_path):
    first, second = (libraries.keep(tmp_path / name, dict(reversed(FILES.items()))) for name in ("a", "b"))
    assert (tmp_path / "a" / "code" / f"{first}.zip").read_bytes() == (
        tmp_path / "b" / "code" / f"{second}.zip"
    ).read_bytes()


def test_another_byte_is_another_library(tmp_path):
    one, other = libraries.keep(tmp_path, FILES), libraries.keep(tmp_path, FILES | {"openbook/a/b.py": b"b = 2\n"})
    assert one != other
    assert libraries.differing(libraries.kept(tmp_path, one), libraries.kept(tmp_path, other)) == [
        "lib/openbook/a/b.py"
    ]


@pytest.mark.parametrize("damage", ["flip", "cut", "foreign", "climbs", "many", "encrypted"])
def test_an_altered_library_is_refused_and_never_unpacked(tmp_path, damage):
    digest = libraries.keep(tmp_path, FILES)
    file = tmp_path / "code" / f"{digest}.zip"
    data = bytearray(file.read_bytes())
    if damage == "flip":
        data[60] ^= 1
    if damage == "many":
        data = bytearray(b ^ 0x5A if 40 <= i < 60 else b for i, b in enumerate(data))
    if damage == "encrypted":
        for at in (data.index(b"PK\x03\x04") + 6, data.index(b"PK\x01\x02") + 8):
            data[at] |= 1
    file.write_bytes(b"no zip" if damage == "foreign" else bytes(data[:-9] if damage == "cut" else data))
    if damage == "climbs":
        with zipfile.ZipFile(file, "w") as packed:
            packed.writestr("../out.py", "boom = 1")
    with pytest.raises(AuditError, match="was altered"):
        libraries.kept(tmp_path, digest)
    assert libraries.keep(tmp_path, FILES) == digest  # the run that needs it next has the right bytes
    assert libraries.kept(tmp_path, digest) == FILES


def test_what_else_lies_there_is_named(tmp_path):
    digest = libraries.keep(tmp_path, FILES)
    assert libraries.check(tmp_path) == []
    (tmp_path / "code" / "notes.txt").write_text("mine")
    (tmp_path / "code" / "commits.json").write_text('{"abc": "0"}')
    assert libraries.check(tmp_path) == [
        "unexpected file code/notes.txt: only library archives belong there",
        "code/0.zip is missing but listed in commits.json",
    ]
    (tmp_path / "code" / "commits.json").write_text("[1]")
    assert "commits.json was altered" in libraries.check(tmp_path)[1]
    assert libraries.kept(tmp_path, digest) == FILES


def test_a_library_that_is_not_kept_is_none(tmp_path):
    assert libraries.kept(tmp_path, "0" * 64) is None
    assert libraries.library_of(tmp_path, {"code": {"commit": "0" * 40, "modified": False}}) is None
    assert libraries.library_of(tmp_path, {"code": {"commit": "0" * 40, "modified": True}}) is None
    assert libraries.library_of(tmp_path, {"code": {"commit": None, "modified": None}}) is None


def test_a_commit_of_before_has_its_library_in_the_repository(tmp_path):
    commit = provenance._git("rev-parse", "HEAD")
    if commit is None:
        pytest.skip("this is no checkout with git")
    found = libraries.committed(commit)
    assert (
        provenance._git("show", f"{commit}:lib/openbook/common/parallel.py").encode()
        == found["openbook/common/parallel.py"].rstrip()
    )
    assert libraries.keep_commits(tmp_path, {commit, "0" * 40}) == ["0" * 40]
    run = {"code": {"commit": commit, "modified": False}}
    assert libraries.library_of(tmp_path, run) == found
    assert libraries.keep_commits(tmp_path, {commit}) == []


def test_unpacked_sources_are_those_that_were_packed(tmp_path):
    files = provenance.sources(find_desk())
    into = libraries.unpack(libraries.kept(tmp_path, libraries.keep(tmp_path, files)), tmp_path / "into")
    there = {path.relative_to(into).as_posix(): path.read_bytes() for path in into.rglob("*") if path.is_file()}
    assert there == files


def test_compiled_loops_come_along_with_the_files_that_are_the_same(tmp_path, monkeypatch):
    library, into = tmp_path / "lib" / "openbook", tmp_path / "into"
    (library / "__pycache__").mkdir(parents=True)
    for name in ("same", "other"):
        (library / f"{name}.py").write_text("now")
        (library / "__pycache__" / f"{name}.mean-9.py311.nbi").write_text("compiled")
    monkeypatch.setattr(provenance, "LIBRARY", library)
    files = {"openbook/same.py": b"now", "openbook/other.py": b"then", "openbook/gone.py": b"then"}
    libraries.bring_compiled(files, libraries.unpack(files, into))
    assert [file.name for file in into.rglob("*.nbi")] == ["same.mean-9.py311.nbi"]
    assert (into / "openbook" / "same.py").stat().st_mtime_ns == (library / "same.py").stat().st_mtime_ns
    assert {name: (into / name).read_bytes() for name in files} == files
