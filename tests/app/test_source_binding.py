"""A book is bound to the source of its prices: the demo does not leak into anybody's own data, nor the other way."""

import json
import shutil

import pandas as pd
import pytest

from openbook.app.source_binding import bound_to, require_carrying
from openbook.common.errors import ParameterError
from openbook.market.sources import origin, parse_source
from support.small_runs import log_runs
from support.trained_desk import hashes, openbook, succeed


def refused(answer, *words: str) -> None:
    assert answer.code == 78, answer
    assert [word for word in words if word not in answer.err] == [], answer.err


@pytest.mark.parametrize("notebook", ["daily_run", "train_candidates", "compare"])
def test_bundled_prices_in_runs_of_a_vendor_are_refused_with_both_ways_on(desk, notebook):
    before = desk.kept()
    stores = hashes(desk.runs / "store")
    answer = openbook("--runs", desk.runs, "run", notebook, "--date", "2022-12-28")  # the demo's profile
    refused(answer, "the paper book in", "bound to the price source files", "this run uses sample")
    refused(answer, "openbook --runs FOLDER", "a separate desk")
    assert (desk.kept(), hashes(desk.runs / "store")) == (before, stores)


def test_a_vendors_prices_in_the_runs_of_a_simulated_world_are_refused(desk, tmp_path):
    """The trap as people fell into it: the demo first, one's own files in the same folder."""
    simulated = {"provider": "simulated", "n_symbols": 20, "n_sessions": 300, "end": "2024-06-27", "seed": 3}
    runs = tmp_path / "demo"
    for name in ("train_candidates", "compare", "select_champion", "production"):
        shutil.copytree(desk.runs / name, runs / name)
    log_runs(runs)
    succeed(openbook("--runs", runs, "init", "--cash", 100000))
    date = f"{desk.days[2]:%Y-%m-%d}"
    run = ("--runs", runs, "run", "daily_run", "--date", date)
    succeed(openbook(*run, "--set", f"source={json.dumps(simulated)}"))
    assert bound_to(runs, runs / "books" / "paper.db").startswith("simulated ")
    refused(openbook(*run, "--set", desk.vendor.source), "the price source simulated", "this run uses files")
    other = simulated | {"seed": 4}
    refused(openbook(*run, "--set", f"source={json.dumps(other)}"), "the price source simulated")


def test_a_vendor_that_moved_its_files_is_the_same_vendor(desk, tmp_path):
    desk.vendor.deliver(desk.evening())
    moved = shutil.copytree(desk.vendor.folder, tmp_path / "moved")
    source = desk.vendor.source.replace(str(desk.vendor.folder), str(moved))
    answer = openbook("--runs", desk.runs, "run", "daily_run", "--date", f"{desk.tonight:%Y-%m-%d}", "--set", source)
    succeed(answer)


def test_other_prices_at_another_place_are_refused_by_a_name_that_is_held(desk, tmp_path):
    files = desk.evening().scaled(desk.held()[0], desk.vendor.files.bars["date"].min(), 1.01)
    desk.vendor.deliver(files)
    moved = shutil.copytree(desk.vendor.folder, tmp_path / "moved")
    desk.vendor.deliver(desk.evening())
    source = desk.vendor.source.replace(str(desk.vendor.folder), str(moved))
    before = desk.kept()
    answer = openbook("--runs", desk.runs, "run", "daily_run", "--date", f"{desk.tonight:%Y-%m-%d}", "--set", source)
    refused(answer, f"close of {desk.held()[0]} on {desk.days[2]:%Y-%m-%d}")
    assert desk.kept() == before


def test_a_book_from_before_books_said_it_is_bound_by_its_page(desk):
    source = parse_source(json.loads(desk.vendor.source.removeprefix("source=")))
    assert bound_to(desk.runs, desk.book) == origin(source) == f"files {desk.vendor.folder / 'prices.parquet'}"


def test_how_prices_are_read_does_not_count():
    one = parse_source({"provider": "files", "path": "a.csv", "prices": "raw"})
    other = parse_source({"provider": "files", "path": "a.csv", "prices": "raw", "columns": {"close": "px"}})
    assert origin(one) == origin(other) == "files a.csv"
    secret = parse_source({"provider": "files", "path": "https://me:word@host/a.csv?key=1", "prices": "raw"})
    assert origin(secret) == "files https://host/a.csv"
    assert origin(parse_source({"provider": "sample"})) == "sample"
    assert pd.notna(origin(parse_source({"provider": "simulated", "end": "2024-06-28"})))


@pytest.mark.parametrize(
    ("settings", "carries"),
    [
        ({"prices": "raw"}, True),
        ({"prices": "adjusted"}, False),
        ({"prices": "split_adjusted"}, False),
        ({"prices": "split_adjusted", "columns": {"split": "split"}}, True),
        ({"prices": "split_adjusted", "splits": {"path": "splits.csv"}}, True),
        ({"prices": "adjusted_with_actions", "columns": {"split": "split"}}, True),
    ],
)
def test_w01_a_live_book_needs_prices_whose_splits_are_known(desk, settings, carries):
    source = parse_source({"provider": "files", "path": "x", **settings})
    given = (desk.book, source, desk.runs / "store")
    if carries:
        require_carrying(*given, paper=False)
        return
    with pytest.raises(ParameterError, match=f"prices: {source.prices} does not work for a live book"):
        require_carrying(*given, paper=False)
