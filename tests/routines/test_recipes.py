"""The three recipes of the page Extending the library, followed to the letter in a copy: its tests pass as they are."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Tests that run over every entry run here over the new one only; all others run as they are.
ONLY_NEW = """
def pytest_collection_modifyitems(items):
    new = {new!r}
    items[:] = [item for item in items if any(n in item.name for n in new) or not hasattr(item, "callspec")]
"""
FEATURE = """        ("stochastic_14", "high low close",
         lambda p: (p.close - lowest(p.low, 14)) / (highest(p.high, 14) - lowest(p.low, 14)),
         "Stochastic oscillator: place of the close in the range of the past 14 sessions."),
"""
RISK = """def inverse_variance(expected, covariance, limits, max_iterations=MAX_ITERATIONS):
    check_inputs(covariance, limits)
    raw = 1.0 / np.diag(covariance)
    return project(limits.exposure * raw / raw.sum(), limits, max_iterations)


"""
SCORES = """def by_rank(expected, covariance, limits, max_iterations=MAX_ITERATIONS):
    raw = np.argsort(np.argsort(expected)) + 1.0
    return project(limits.exposure * raw / raw.sum(), limits, max_iterations)


"""
LEARNER = """    "shallow_forest": replace(
        XGBOOST, defaults={**FOREST_DEFAULTS, "max_depth": 3}, boost=grow_forest, stops_early=False
    ),
"""
SETTINGS = """    "shallow_forest": {
        "max_depth": 2,
        "min_child_weight": 50.0,
        "subsample": 0.9,
        "colsample_bynode": 1.0,
        "reg_lambda": 50.0,
        "max_bin": 8,
    },
"""
FEATURES, LEARNERS = "lib/openbook/signals/features.py", "lib/openbook/signals/learners.py"
OPTIMIZERS, LEARNER_TESTS = "lib/openbook/portfolio/optimizers.py", "tests/signals/test_algorithms.py"
NAMES = ("stochastic_14", "inverse_variance", "by_rank", "shallow_forest")
EDITS = (  # file, what is put there, before which words
    (FEATURES, FEATURE, '        ("williams_r_14", "high low close",'),
    (OPTIMIZERS, RISK + SCORES, "OPTIMIZERS = {"),
    (
        OPTIMIZERS,
        '    "inverse_variance": inverse_variance,\n    "by_rank": by_rank,\n',
        '    "max_sharpe": max_sharpe,',
    ),
    (LEARNERS, LEARNER, '    "random_forest": replace('),
    (LEARNER_TESTS, SETTINGS, '    "random_forest": {'),
)
TESTS = (
    "tests/signals/test_features.py",
    "tests/signals/test_algorithms.py",
    "tests/signals/test_bundle.py",
    "tests/portfolio/test_optimizers.py",
    "tests/portfolio/test_pypfopt_check.py",
    "tests/portfolio/test_construct.py",
)


@pytest.fixture(scope="module")
def followed(tmp_path_factory) -> Path:
    """A copy of the project with a feature, two optimizers and an algorithm more."""
    # The compiled loops come along: a recipe changes none of them, and to compile them takes twenty seconds.
    copy, ignored = tmp_path_factory.mktemp("copy"), shutil.ignore_patterns("*.pyc*", "*.tmp*", ".ipynb_checkpoints")
    for part in ("lib", "tests", "params", "notebooks"):
        shutil.copytree(ROOT / part, copy / part, ignore=ignored)
    shutil.copyfile(ROOT / "pyproject.toml", copy / "pyproject.toml")
    for file, text, before in EDITS:
        said = (copy / file).read_text(encoding="utf-8")
        assert said.count(before) == 1, before
        (copy / file).write_text(said.replace(before, text + before), encoding="utf-8")
    (copy / "only_new.py").write_text(ONLY_NEW.format(new=NAMES))
    return copy


def test_the_recipes_followed_to_the_letter_pass(followed):
    path = os.pathsep.join([str(followed / "lib"), str(followed)])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "only_new", "-p", "no:cacheprovider", "-rA", *TESTS],
        cwd=followed,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    looked_at = [name for name in NAMES if f"[{name}" in done.stdout or f"-{name}]" in done.stdout]
    assert looked_at == list(NAMES)
