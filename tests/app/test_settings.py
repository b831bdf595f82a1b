"""Parameters are checked in full before anything runs: X02 and X05 of the fault table."""

import pytest

from openbook.app.settings import NOTEBOOKS, check_params, load_params, parse_yaml
from openbook.common.errors import ParameterError


@pytest.fixture
def profile(tmp_path):
    """Write params/demo/daily_run.yaml below a root and return the root."""

    def write(text: str):
        folder = tmp_path / "params" / "demo"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "daily_run.yaml").write_text(text)
        return tmp_path

    return write


@pytest.mark.parametrize("notebook", NOTEBOOKS)
@pytest.mark.parametrize("name", ["demo", "live", "vendor"])
def test_every_profile_is_valid(project_root, notebook, name):
    assert load_params(notebook, name, root=project_root)


PLACES = {  # every setting that can be a URL, and the way out
    "source.path": "FSSPEC_HTTPS",
    "source.sectors.path": "FSSPEC_HTTPS",
    "source.members.path": "FSSPEC_HTTPS",
    "source.actions.path": "FSSPEC_HTTPS",
    "source.index.path": "FSSPEC_HTTPS",
    "source.fundamentals.path": "FSSPEC_HTTPS",
    "source.securities.path": "FSSPEC_HTTPS",
    "source.name": "FSSPEC_HTTPS",
    "storage": "PGPASSWORD",
}


@pytest.mark.parametrize("url", ["https://user:hunter2@host/a.csv", "https://host/a.csv?api_key=hunter2"])
@pytest.mark.parametrize("place", PLACES)
def test_x08_a_setting_with_a_secret_in_its_url_is_refused_and_not_repeated(project_root, place, url):
    notebook = "train_candidates" if place == "storage" else "daily_run"
    with pytest.raises(ParameterError, match=rf"{place} contains .*sealed with the run; .*{PLACES[place]}") as caught:
        load_params(notebook, "vendor", (f"{place}={url}",), root=project_root)
    assert caught.value.exit_code == 78
    assert "hunter2" not in str(caught.value)


def test_x08_a_secret_in_the_file_of_a_profile_is_refused_too(profile):
    root = profile("source: {provider: files, path: 's3://id:hunter2@bucket/a.csv', prices: raw}")
    with pytest.raises(ParameterError, match=r"daily_run\.yaml: source\.path contains a password.*FSSPEC_S3"):
        load_params("daily_run", "demo", root=root)


def test_a_file_that_is_not_there_names_the_profiles(project_root):
    with pytest.raises(ParameterError, match="available profiles: demo, live, vendor"):
        load_params("daily_run", "prod", root=project_root)


@pytest.mark.parametrize(
    ("text", "culprit"),
    [
        ("source: {provider: sample}\nmax_modle_age: 3", "unknown parameter max_modle_age"),  # X02 unknown
        ("max_model_age: 3", "source: Field required"),
        (
            "source: {provider: sample}\nmax_model_age: '3'",
            "max_model_age: Input should be a valid integer",
        ),  # X02 type
        ("source: {provider: sample}\nmax_model_age: true", "max_model_age: Input should be a valid integer"),
        ('source: {provider: sample}\ndry_run: "false"', "dry_run: Input should be a valid boolean"),  # X05
        ("source: {provider: sample}\ndry_run: 0", "dry_run: Input should be a valid boolean"),
        ("source: {provider: sample}\nmin_trade_size: 1e-3", "min_trade_size: Input should be a valid number"),
        ("source: {provider: sample}\nmin_trade_size: .nan", "min_trade_size"),
        ("source: {provider: bloomberg}", "source"),
        ("source: {provider: sample}\nlimits: {max_wieght: 0.2}", "unknown parameter limits.max_wieght"),
        ("- a\n- b", "expected `key: value` lines, found list"),
        ("", "expected `key: value` lines, found NoneType"),
    ],
)
def test_a_wrong_file_names_the_culprit(profile, text, culprit):
    with pytest.raises(ParameterError, match=culprit) as caught:
        load_params("daily_run", "demo", root=profile(text))
    assert caught.value.exit_code == 78


@pytest.mark.parametrize(
    "text",
    [
        "source: {provider: sample}\nsource: {provider: sample}",
        "source: {provider: sample, provider: files}",
        "source: !!python/object/apply:os.system ['touch /tmp/openbook-was-here']",
        "source: !!python/name:os.system",
        "source: {provider: sample",
        "&a [*a]",
    ],
)
def test_x05_yaml_tags_and_duplicate_keys_are_refused(profile, text):
    with pytest.raises(ParameterError):
        load_params("daily_run", "demo", root=profile(text))


def test_a_date_stays_the_text_that_was_written():
    assert parse_yaml("first: 2010-01-04", "here") == {"first": "2010-01-04"}


def test_set_reaches_inside_and_keeps_types(project_root):
    sets = ("limits.max_weight=0.1", "max_model_age=30", "source={provider: simulated, n_symbols: 7}")
    found = load_params("daily_run", "demo", sets, root=project_root)
    assert (found.limits.max_weight, found.max_model_age, found.source.n_symbols) == (0.1, 30, 7)


@pytest.mark.parametrize(
    "text", ["max_model_age", "=3", "a b=3", "__import__('os')=1", "limits.=1", "max_model_age.x=1"]
)
def test_x02_set_refuses_what_is_no_key(project_root, text):
    with pytest.raises(ParameterError, match="--set"):
        load_params("daily_run", "demo", (text,), root=project_root)


def test_settings_survive_the_way_to_the_notebook_and_back(project_root):
    for notebook in NOTEBOOKS:
        settings = load_params(notebook, "demo", root=project_root)
        assert check_params(notebook, settings.model_dump(mode="json")) == settings
