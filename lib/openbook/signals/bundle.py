"""A model as plain files: its own text format, and a schema that pins every byte and what it must predict.

bundle_hash covers schema.json, which covers the model file: that one hash identifies the whole bundle. Nothing
here unpickles, and no parser sees a byte before its hash was compared: a corrupted LightGBM text ends the process.
"""

from __future__ import annotations

import base64
import hashlib
import json
import platform
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, Field, ValidationError

from openbook.common import extensions
from openbook.common.errors import ModelError, StaleModelError
from openbook.signals.algorithms import ALGORITHMS, ENSEMBLE, Algorithm
from openbook.signals.dataset import scored_rows
from openbook.signals.models import Model, Training, check_features

if TYPE_CHECKING:  # features brings numba in, which loading a model does not need
    from openbook.signals.features import Features

SCHEMA = "schema.json"
GOLDEN_ROWS = 32
_SHA256 = r"^[0-9a-f]{64}$"


class Golden(BaseModel, frozen=True, extra="forbid", strict=True):
    """Rows and their predictions: base64 of little-endian float32 (rows × features) and float64 (rows)."""

    rows: int = Field(ge=1)
    inputs: str
    predictions: str


class Schema(Training):
    """The contents of schema.json: how the model was made, and its required properties. `require_fresh` counts from
    trained_through.
    """

    format: Literal["openbook model"] = "openbook model"
    format_version: Literal[1] = 1
    algorithm: str
    features: list[str] = Field(min_length=1, description="feature names, in column order")
    dtype: Literal["float32"] = "float32"
    data_fingerprint: str = Field(description="hash of the training data")
    libraries: dict[str, str] = Field(description="library versions at training")
    extensions: dict[str, str] = Field(default={}, description="the desk's own files behind it, by sha256")
    model_file: str
    model_sha256: str = Field(pattern=_SHA256)
    golden: Golden


def pack_model(model: Model, sample: Features, *, data_fingerprint: str) -> dict[str, bytes]:
    """The bundle as file name -> bytes; the same model and sample give the same bytes.

    sample : features to take the golden rows from, evenly over all that can be scored; a few dates are enough

    Raises ModelError if the model read back from its own bytes does not predict the same to the bit.
    """
    check_features(sample, model.features)
    algorithm = ALGORITHMS[model.algorithm]
    data = algorithm.dump(model.booster)
    rows = _golden_rows(sample)
    predictions = algorithm.predict(algorithm.load(data), rows, 1)
    if not np.array_equal(predictions, algorithm.predict(model.booster, rows, 1)):
        raise ModelError(f"{model.training.candidate.name} does not reproduce its predictions after saving and loading")
    schema = Schema(
        **model.training.model_dump(exclude={"candidate"}),
        candidate=model.training.candidate,
        algorithm=model.algorithm,
        features=list(model.features),
        data_fingerprint=data_fingerprint,
        libraries=_libraries(algorithm),
        extensions=_extensions(model),
        model_file=algorithm.filename,
        model_sha256=_sha256(data),
        golden=Golden(rows=len(rows), inputs=_encode(rows, "<f4"), predictions=_encode(predictions, "<f8")),
    )
    said = schema.model_dump(exclude=None if schema.extensions else {"extensions"})
    text = json.dumps(said, indent=1, sort_keys=True, allow_nan=False) + "\n"
    return {algorithm.filename: data, SCHEMA: text.encode()}


def bundle_hash(files: dict[str, bytes]) -> str:
    """The sha256 that names a bundle: of its schema, which pins the model file. ModelError if the two do not agree."""
    if SCHEMA not in files:
        raise ModelError(f"a bundle needs {SCHEMA}; this one has {sorted(files)}")
    schema = _parse(files[SCHEMA], SCHEMA)
    if sorted(files) != sorted([SCHEMA, schema.model_file]):
        raise ModelError(f"a bundle is {SCHEMA} and {schema.model_file}, nothing else; this has {sorted(files)}")
    _require_hash(files[schema.model_file], schema.model_sha256, schema.model_file)
    return _sha256(files[SCHEMA])


def load_model(folder, *, sha256: str | None = None) -> tuple[Model, dict]:
    """The model of a bundle and its schema, after every hash and the golden predictions held.

    folder : holds schema.json and the model file; anything else there is not opened
    sha256 : the bundle's hash, from the pointer; None trusts schema.json, as right after packing

    Raises ModelError (40) naming the file that is missing or altered, or the library under which it now answers
    differently.
    """
    folder = Path(folder)
    text = _read(folder / SCHEMA)
    if sha256 is not None:
        _require_hash(text, sha256, folder / SCHEMA)
    schema = _parse(text, folder / SCHEMA)
    extensions.require(schema.extensions, f"the model {schema.candidate.name}")
    if schema.algorithm not in ALGORITHMS:
        raise ModelError(
            f"{folder / SCHEMA} has unknown algorithm {schema.algorithm!r}; known: {', '.join(ALGORITHMS)}"
        )
    algorithm = ALGORITHMS[schema.algorithm]
    if schema.model_file != algorithm.filename:  # also keeps "../../elsewhere" from being opened
        raise ModelError(f"{folder / SCHEMA} points to {schema.model_file!r}, not {algorithm.filename}")
    data = _read(folder / algorithm.filename)
    _require_hash(data, schema.model_sha256, folder / algorithm.filename)
    training = Training(**{name: getattr(schema, name) for name in Training.model_fields})
    model = Model(schema.algorithm, tuple(schema.features), algorithm.load(data), training)
    _check_golden(model, schema, folder)
    return model, schema.model_dump()


def require_bytes(folder, sha256: str) -> None:
    """Raise ModelError (40) unless a bundle has the bytes of its hash; its algorithm need not be known here."""
    text = _read(Path(folder) / SCHEMA)
    _require_hash(text, sha256, Path(folder) / SCHEMA)
    said = json.loads(text)  # of a known hash
    file = Path(folder) / said["model_file"]
    _require_hash(_read(file), said["model_sha256"], file)


def require_fresh(schema: dict, date, max_age_days: int) -> None:
    """Raise StaleModelError (42) if the labels that the model learned from end more than max_age_days before `date`.

    Raises ModelError (40) if they end after it: a model that has seen the day may not score it.
    """
    through = schema["trained_through"]
    age = (pd.Timestamp(date) - pd.Timestamp(through)).days
    if not (age >= 0):
        raise ModelError(
            f"the model was trained on data through {through} and must not score {date}, which is in sample"
        )
    if not (age <= max_age_days):
        raise StaleModelError(
            f"the model was trained through {through}, {age} days ago, above the limit of {max_age_days}; retrain it"
        )


def _golden_rows(sample: Features) -> np.ndarray:
    """GOLDEN_ROWS rows, evenly over the scored rows of the sample; float32."""
    rows = sample.values[scored_rows(sample)]
    if not len(rows):
        raise ModelError("the sample has no row with features; pack the model with a date that it can score")
    return rows[np.unique(np.linspace(0, len(rows) - 1, GOLDEN_ROWS).astype(int))]


def _check_golden(model: Model, schema: Schema, folder: Path) -> None:
    """The booster must know the schema's features and repeat the golden predictions, to the bit.

    Trees only add up constants, so another result is another model, or another way to read it. No tolerance.
    """
    algorithm = ALGORITHMS[model.algorithm]
    if algorithm.names(model.booster) != model.features:
        raise ModelError(f"{folder}: the features of {algorithm.filename} are not those of {SCHEMA}; promote it again")
    rows = _decode(schema.golden.inputs, "<f4", folder)
    if rows.size != schema.golden.rows * len(model.features):
        raise ModelError(f"{folder}: the golden rows do not have {len(model.features)} features; promote it again")
    rows = rows.reshape(schema.golden.rows, -1)
    then = _decode(schema.golden.predictions, "<f8", folder)
    now = algorithm.predict(model.booster, rows, 1)
    if not np.array_equal(now, then):
        trained = ", ".join(f"{name} {number}" for name, number in schema.libraries.items())
        here = ", ".join(f"{name} {number}" for name, number in _libraries(algorithm).items())
        raise ModelError(
            f"{folder}: golden predictions differ; trained with {trained}, installed {here}; install "
            "those versions or retrain"
        )


def _parse(text: bytes, where) -> Schema:
    try:
        return Schema.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        raise ModelError(f"{where} is not a model schema: {'.'.join(map(str, first['loc']))} {first['msg']}") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read the model: {path}: {error.strerror}") from error


def _require_hash(data: bytes, expected: str, where) -> None:
    found = _sha256(data)
    if found != expected:
        raise ModelError(f"{where} was altered: sha256 {found[:12]}… is not {expected[:12]}…; restore or promote again")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _encode(values: np.ndarray, dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=dtype).tobytes()).decode()


def _decode(text: str, dtype: str, folder: Path) -> np.ndarray:
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), dtype=dtype)
    except ValueError as error:
        raise ModelError(f"{folder}: the golden rows cannot be read: {error}") from error


def _extensions(model: Model) -> dict[str, str]:
    """The desk's own files that its features and learners are defined in, by sha256."""
    members = [member.algorithm for member in model.booster] if model.algorithm == ENSEMBLE else []
    own_features = extensions.behind("FEATURES", model.features)
    return own_features | extensions.behind("LEARNERS", [model.algorithm, *members])


def _libraries(algorithm: Algorithm) -> dict[str, str]:
    """Versions by module name; a module's own, because xgboost comes in several packages."""
    versions = {name: import_module(name).__version__ for name in algorithm.libraries}
    return {**versions, "numpy": np.__version__, "python": platform.python_version()}
