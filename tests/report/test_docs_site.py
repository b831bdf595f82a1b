"""`openbook open docs`: the site is built once for its pages and its library, and a lack is said in one line."""

import shutil
import subprocess
import sys

import pytest

from openbook.common.desk_folder import DESK, FILE
from openbook.common.errors import UsageError
from openbook.common.extras import EXTRAS
from openbook.report import docs_site
from support.trained_desk import openbook

CONF = 'project = "desk"\nextensions = ["myst_nb"]\nhtml_theme = "furo"\n'


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A desk with two pages of its own, and a cache that nobody has used."""
    pages = tmp_path / "desk" / docs_site.PAGES
    pages.mkdir(parents=True)
    (tmp_path / "desk" / FILE).write_text("format: 1\n")
    (pages / "conf.py").write_text(CONF)
    (pages / "index.md").write_text("# Ours\n\n[other](other.md)\n\n```{toctree}\nother\n```\n")
    (pages / "other.md").write_text("# Other\n\nFirst words.\n")
    monkeypatch.setenv(DESK, str(tmp_path / "desk"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return pages


def sites(tmp_path) -> list[str]:
    """What lies in the cache, by name."""
    return sorted(path.name for path in (tmp_path / "cache" / "openbook" / "docs").iterdir())


def test_the_site_is_built_once_and_again_after_a_page_changed(desk, tmp_path):
    first = openbook("open", "docs")
    assert first.code == 0, first
    said, shown = first.out.splitlines()
    assert said.startswith("building the documentation in ")
    assert shown.endswith("index.html")
    (desk / "other.md").touch()
    assert openbook("open", "docs") == (0, f"{shown}\n", "")
    (desk / "other.md").write_text("# Other\n\nSecond words.\n")
    again = openbook("open", "docs").out.splitlines()[-1]
    assert again != shown
    assert sites(tmp_path) == [again.split("/")[-2]]
    assert "Second words" in (tmp_path / "cache" / "openbook" / "docs" / sites(tmp_path)[0] / "other.html").read_text()


def test_a_warning_is_an_error_that_names_the_page_and_leaves_nothing(desk, tmp_path):
    (desk / "other.md").write_text("# Other\n\n[nowhere](missing.md)\n")
    answer = openbook("open", "docs")
    assert answer.code == 74
    assert answer.err.count("\n") == 1
    assert "other.md:3" in answer.err
    assert "missing.md" in answer.err
    assert sites(tmp_path) == []


def test_without_the_extra_one_line_says_how_to_get_it(desk, monkeypatch, tmp_path):
    monkeypatch.setitem(EXTRAS, "docs", ("sphinx", "a_package_that_nobody_has"))
    answer = openbook("open", "docs")
    assert answer.code == 78
    assert answer.err.count("\n") == 1
    assert "pip install 'openbook[docs]'" in answer.err
    assert not (tmp_path / "cache").exists()


def test_a_desk_without_pages_shows_those_of_the_library(desk, project_root):
    assert docs_site.find_pages() == desk
    (desk / "conf.py").unlink()
    assert docs_site.find_pages() == project_root / docs_site.PAGES


def test_notebooks_see_no_secret_and_no_desk_of_the_user(desk, monkeypatch, tmp_path):
    monkeypatch.setenv("OPENBOOK_SMTP_PASSWORD", "correct horse battery")
    seen = tmp_path / "seen"
    (desk / "conf.py").write_text(f"import os\nopen({str(seen)!r}, 'w').write(repr(dict(os.environ)))\n{CONF}")
    docs_site.build(desk, tmp_path / "out" / "html", execute=False)
    assert "correct horse" not in seen.read_text()
    assert DESK not in seen.read_text()


def test_pages_of_a_wheel_run_in_the_desk_of_the_user(desk, monkeypatch, tmp_path):
    """The guides copy notebooks and parameters of a desk; a wheel's pages lie in none."""
    seen = tmp_path / "seen"
    packed = tmp_path / "site-packages" / docs_site.PAGES
    shutil.copytree(desk, packed)
    (packed / "conf.py").write_text(f"import os\nopen({str(seen)!r}, 'w').write(os.environ[{DESK!r}])\n{CONF}")
    docs_site.build(packed, tmp_path / "out" / "html", execute=False)
    assert seen.read_text() == str(tmp_path / "desk")
    monkeypatch.delenv(DESK)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="no desk at or above"):
        docs_site.build(packed, tmp_path / "again" / "html", execute=False)


def test_the_command_itself_loads_no_sphinx():
    code = (
        "import sys\nfrom openbook.report import docs_site\nprint([n for n in ('sphinx', 'furo') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
