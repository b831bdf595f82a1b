"""`openbook data check`: a vendor's folder, described or not, from its file names to the report."""

from dataclasses import replace

from openbook.common.errors import DataError
from openbook.market.checks.gaps import overlapping_spells, repeated_keys
from openbook.market.checks.history import Checkup, examine, rank_findings
from openbook.market.sources import Source
from openbook.market.sources.folder import DESCRIBE, Understood, deliver, understand
from openbook.market.sources.reading import file_name, list_files, read_keys, read_table, shown
from openbook.market.tables import Delivery


def check_folder(path: str, *, beside: Delivery | None = None, today=None) -> Checkup:
    """Guess what the files at `path` are, report it, and check all of them. DataError if nothing can be read."""
    understood = _understood(path)
    keyed = [repeated_keys(*read_keys(file, columns)) for file, columns in understood.keyed]
    if understood.source is None:
        spells = [overlapping_spells(read_table(file, columns)) for file, columns in understood.spells]
        found = rank_findings([*keyed, *spells])
        files = ", ".join(file_name(file) for file, _ in [*understood.keyed, *understood.spells])
        unpriced = f"no prices found: no file in {shown(path)} has symbol, date and close; {DESCRIBE}"
        return Checkup(found, {"Bars": "none", "Keys of": files}, 0.0, tuple(understood.readings), unpriced)
    source = understood.source
    try:
        checkup = examine(deliver(source), beside=beside, today=today)
    except DataError as error:
        raise DataError(f"{error}; column {source.columns.get('close', 'close')!r} was used as the close") from None
    found = rank_findings([checkup.findings, *keyed])
    return replace(checkup, findings=found, readings=tuple(understood.readings), source=source)


def _understood(path: str) -> Understood:
    """What the files at `path` are; DataError if no price was read, with the way out."""
    try:
        list_files(path)
    except DataError as error:
        raise DataError(f"no prices found: {error}; {DESCRIBE}") from None
    return understand(path)


def check_source(source: Source, *, beside: Delivery | None = None, today=None) -> Checkup:
    """Check the delivery of a described source."""
    return examine(deliver(source), beside=beside, today=today)


def delivery_of(path: str) -> Delivery:
    """The bars of an undescribed folder, as a second source; DataError if it has none."""
    source = understand(path).source
    if source is None:
        raise DataError(f"no file in {shown(path)} has symbol, date and close to compare with; use --beside FILE.yaml")
    return deliver(source)
