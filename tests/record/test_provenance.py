"""Where a run's notebooks lie, and what code and packages made it."""

import platform

import pytest

from openbook.errors import UsageError
from openbook.record import provenance


def test_the_checkout_is_here_or_where_the_package_came_from(tmp_path, monkeypatch, project_root):
    monkeypatch.chdir(project_root)
    assert provenance.checkout() == project_root
    monkeypatch.chdir(tmp_path)
    assert provenance.checkout() == project_root
    for name in ("notebooks", "params"):
        (tmp_path / name).mkdir()
    assert provenance.checkout() == tmp_path  # the one that we stand in comes first


def test_half_a_checkout_is_none(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(provenance, "HERE", tmp_path / "lib" / "openbook")
    with pytest.raises(UsageError, match="run openbook from its checkout"):
        provenance.checkout()


def test_packages_that_are_not_installed_are_left_out(monkeypatch):
    monkeypatch.setattr(provenance, "PACKAGES", ("numpy", "no-such-package-anywhere"))
    found = provenance.packages()
    assert set(found) == {"python", "numpy"}
    assert found["python"] == platform.python_version()


def test_code_outside_of_a_repository_has_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "HERE", tmp_path)
    assert provenance.code() == {"commit": None, "modified": None}
