"""A bundle says what it said when it was packed, or it says nothing."""

import base64
import hashlib
import json
import pickle
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from pandas.testing import assert_frame_equal

from openbook.common.errors import ModelError, SchemaError, StaleModelError
from openbook.signals.algorithms import ALGORITHMS, ENSEMBLE
from openbook.signals.bundle import bundle_hash, load_model, pack_model, require_fresh
from openbook.signals.learners import LEARNERS
from openbook.signals.models import Candidate, ModelTrainer, combine
from support.signal_markets import planted_dataset

EACH = pytest.mark.parametrize("algorithm", [*LEARNERS, ENSEMBLE])


@cache
def dataset():
    return planted_dataset(200, 20)


def train(algorithm: str):
    if algorithm == ENSEMBLE:
        return combine({name: train(name) for name in LEARNERS}, Candidate(name="kept", algorithm=ENSEMBLE))
    params = {name: 0.1 for name in ("learning_rate",) if name in LEARNERS[algorithm].defaults}
    candidate = Candidate(name="kept", algorithm=algorithm, n_estimators=30, params=params)
    return ModelTrainer(candidate).train(dataset(), dataset().dates)


@cache
def trained(algorithm: str):
    return train(algorithm)


@cache
def packed(algorithm: str) -> dict[str, bytes]:
    return pack_model(trained(algorithm), dataset().features_on(dataset().dates[-3:]), data_fingerprint="f" * 64)


def put(files: dict[str, bytes], folder: Path) -> Path:
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def forge(kind: str, data: bytes | None = None, **changes) -> dict[str, bytes]:
    """A bundle whose schema was rewritten, hash of the model file included, as only the promoter could."""
    files = dict(packed(kind))
    schema = json.loads(files["schema.json"]) | changes
    if data is not None:
        files[schema["model_file"]] = data
        schema["model_sha256"] = hashlib.sha256(data).hexdigest()
    files["schema.json"] = json.dumps(schema).encode()
    return files


class Payload:
    """Unpickling it creates a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


# --- what is kept -----------------------------------------------------------------------------------------------------


@EACH
def test_a_bundle_predicts_what_the_model_did_to_the_bit(algorithm, tmp_path):
    model, schema = load_model(put(packed(algorithm), tmp_path), sha256=bundle_hash(packed(algorithm)))
    assert_frame_equal(
        model.predict(dataset().features), trained(algorithm).predict(dataset().features), check_exact=True
    )
    assert model.training == trained(algorithm).training
    assert model.features == dataset().features.names
    assert schema["data_fingerprint"] == "f" * 64


@EACH
def test_the_schema_says_what_an_auditor_asks(algorithm):
    schema = json.loads(packed(algorithm)["schema.json"])
    assert schema["features"] == [f"feature_{i}" for i in range(5)]
    assert (schema["dtype"], schema["horizon"], schema["format_version"]) == ("float32", 5, 1)
    assert schema["label"].startswith("close[t+1+5] / close[t+1] - 1")
    assert schema["trained_through"] == str(dataset().dates[-1].date())
    assert schema["train_rows"] == 194 * 20
    assert set(schema["libraries"]) == {*ALGORITHMS[algorithm].libraries, "numpy", "python"}
    assert schema["candidate"]["params"] == trained(algorithm).training.candidate.params
    rows = np.frombuffer(base64.b64decode(schema["golden"]["inputs"]), "<f4").reshape(-1, 5)
    assert len(rows) == schema["golden"]["rows"] == 32


@EACH
def test_the_same_model_gives_the_same_bytes(algorithm):
    again = train(algorithm)
    sample = dataset().features_on(dataset().dates[-3:])
    assert pack_model(again, sample, data_fingerprint="f" * 64) == packed(algorithm)


def test_bundles_open_in_another_process_without_the_features_module(tmp_path):
    script = "import sys; from openbook.signals.bundle import load_model\n"
    for algorithm in [*LEARNERS, ENSEMBLE]:
        (tmp_path / algorithm).mkdir()
        put(packed(algorithm), tmp_path / algorithm)
        script += f"load_model({str(tmp_path / algorithm)!r}, sha256={bundle_hash(packed(algorithm))!r})\n"
    script += "print('opened', 'numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "opened False\n", done.stderr


def test_the_bundle_hash_covers_every_file():
    files = packed("xgboost")
    assert bundle_hash(files) == hashlib.sha256(files["schema.json"]).hexdigest()
    with pytest.raises(ModelError, match=r"model\.json was altered"):
        bundle_hash(files | {"model.json": files["model.json"] + b" "})
    with pytest.raises(ModelError, match="nothing else"):
        bundle_hash(files | {"extra.txt": b""})
    with pytest.raises(ModelError, match=r"needs schema\.json"):
        bundle_hash({"model.json": b""})


def test_a_bundle_is_packed_with_the_features_of_its_model():
    sample = planted_dataset(60, 20, n_noise=3).features
    with pytest.raises(SchemaError, match="feature_4"):
        pack_model(trained("xgboost"), sample, data_fingerprint="")


def test_a_sample_without_a_feature_gives_no_golden_rows():
    sample = dataset().features_on(dataset().dates[-1:])
    empty = replace(sample, values=np.full_like(sample.values, np.nan))
    with pytest.raises(ModelError, match="no row with features"):
        pack_model(trained("xgboost"), empty, data_fingerprint="")


def test_a_model_that_does_not_survive_being_written_is_not_packed(monkeypatch):
    other = trained("xgboost").booster[:5]
    swap_in(monkeypatch, "xgboost", load=lambda data: other)
    with pytest.raises(ModelError, match="kept does not reproduce its predictions"):
        pack_model(trained("xgboost"), dataset().features_on(dataset().dates[-1:]), data_fingerprint="")


# --- what is refused --------------------------------------------------------------------------------------------------


@EACH
def test_m01_a_pickle_where_the_model_should_be_never_runs(algorithm, tmp_path):
    marker = tmp_path / "the payload ran"
    bomb = pickle.dumps(Payload(marker))
    pickle.loads(bomb).close()
    assert marker.exists()  # it does work
    marker.unlink()
    model_file = ALGORITHMS[algorithm].filename
    attacks = [
        packed(algorithm) | {model_file: bomb},  # swapped
        packed(algorithm) | {"schema.json": bomb},
        forge(algorithm, data=bomb),  # swapped by one who could rewrite the schema too
        forge(algorithm, model_file="champion_model.pkl") | {"champion_model.pkl": bomb},
    ]
    for i, files in enumerate(attacks):
        folder = tmp_path / str(i)
        folder.mkdir()
        with pytest.raises(ModelError) as caught:
            load_model(put(files, folder))
        assert caught.value.exit_code == 40
    load_model(put(packed(algorithm) | {"model.pkl": bomb}, folder))  # lying beside it, it is not even opened
    assert not marker.exists()


@EACH
def test_m02_a_flipped_byte_is_refused_before_any_parser(algorithm, tmp_path, monkeypatch):
    """The first 200 bytes of each file and 300 more all over it, and files cut short; no parser may be called."""
    pointer = bundle_hash(packed(algorithm))
    folder = put(packed(algorithm), tmp_path)
    swap_in(monkeypatch, algorithm, load=no_parser)
    for name, data in sorted(packed(algorithm).items()):  # the model file first: its schema still has to be read
        if name == "schema.json":
            monkeypatch.setattr("openbook.signals.bundle.Schema.model_validate_json", no_parser)
        for altered in altered_copies(data):
            (folder / name).write_bytes(altered)
            with pytest.raises(ModelError, match=f"{name} was altered"):
                load_model(folder, sha256=pointer)
        (folder / name).write_bytes(data)


def altered_copies(data: bytes):
    for at in {*range(200), *np.linspace(0, len(data) - 1, 300).astype(int).tolist()}:
        flipped = bytearray(data)
        flipped[at] ^= 1 << (at % 8)
        yield bytes(flipped)
    yield from (data[:-1], data[: len(data) // 2], b"", data + b"\n")


def no_parser(*_):
    pytest.fail("a parser saw altered bytes")


def swap_in(monkeypatch, algorithm: str, **functions) -> None:
    monkeypatch.setitem(ALGORITHMS, algorithm, replace(ALGORITHMS[algorithm], **functions))


def test_m03_a_model_file_of_other_features_is_refused(tmp_path):
    names = [f"feature_{i}" for i in (1, 0, 2, 3, 4)]
    with pytest.raises(ModelError, match="the features of"):
        load_model(put(forge("xgboost", features=names), tmp_path))


def test_m06_a_bundle_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"nowhere.schema\.json: No such file"):
        load_model(tmp_path / "nowhere")
    put({"schema.json": packed("xgboost")["schema.json"]}, tmp_path)
    with pytest.raises(ModelError, match=r"model\.json: No such file"):
        load_model(tmp_path)


@EACH
def test_m07_golden_predictions_that_differ_are_refused(algorithm, tmp_path):
    golden = json.loads(packed(algorithm)["schema.json"])["golden"]
    said = np.frombuffer(base64.b64decode(golden["predictions"]), "<f8").copy()
    said[7] = np.nextafter(said[7], 1)  # the last bit of one of them
    library = ALGORITHMS[algorithm].libraries[0]
    golden["predictions"] = base64.b64encode(said.tobytes()).decode()
    with pytest.raises(ModelError, match=rf"golden predictions differ; trained with .*{library} \d.*install those"):
        load_model(put(forge(algorithm, golden=golden), tmp_path))


@EACH
def test_m07_another_library_that_reads_the_file_differently_is_refused(algorithm, tmp_path, monkeypatch):
    put(packed(algorithm), tmp_path)
    swap_in(monkeypatch, algorithm, predict=lambda booster, X, n_jobs: np.zeros(len(X)))
    with pytest.raises(ModelError, match="golden predictions differ"):
        load_model(tmp_path, sha256=bundle_hash(packed(algorithm)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 2}, "format_version"),
        ({"algorithm": "oracle"}, "has unknown algorithm 'oracle'"),
        ({"model_file": "../elsewhere/model.json"}, "points to"),
        ({"model_sha256": "0" * 63}, "model_sha256"),
        ({"surprise": 1}, "surprise"),
        ({"golden": {"rows": 3, "inputs": "AAAA", "predictions": ""}}, "golden rows"),
        ({"golden": {"rows": 3, "inputs": "AAAAAA==", "predictions": ""}}, "golden rows do not have 5 features"),
        ({"golden": {"rows": 3, "inputs": "?", "predictions": ""}}, "golden rows cannot be read"),
    ],
)
def test_a_schema_that_makes_no_sense_is_refused(changes, message, tmp_path):
    with pytest.raises(ModelError, match=message):
        load_model(put(forge("xgboost", **changes), tmp_path))


@pytest.mark.parametrize(
    ("algorithm", "data"), [("xgboost", b'{"learner":{}}'), ("lightgbm", b"tree\nversion=v4\nnum_class=1\n")]
)
def test_a_file_that_its_library_cannot_read_is_a_model_error(algorithm, data, tmp_path):
    with pytest.raises(ModelError, match=f"{algorithm} cannot read the model"):
        load_model(put(forge(algorithm, data=data), tmp_path))


def test_m08_a_model_older_than_allowed_is_stale():
    schema = {"trained_through": "2024-03-01"}
    require_fresh(schema, "2024-03-31", 30)
    require_fresh(schema, "2024-03-01", 0)
    with pytest.raises(StaleModelError, match="through 2024-03-01, 31 days ago, above the limit of 30") as caught:
        require_fresh(schema, "2024-04-01", 30)
    assert caught.value.exit_code == 42


def test_a_model_may_not_score_a_day_that_it_has_seen():
    with pytest.raises(ModelError, match="which is in sample"):
        require_fresh({"trained_through": "2024-03-01"}, "2024-02-29", 30)
