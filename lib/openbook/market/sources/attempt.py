"""One attempt to ask a provider for much: what earlier attempts of the day got already, and how far this one is."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import pandas as pd
import pyarrow as pa

from openbook.market import calendar

Tell = Callable[[str, int, int], None]


class Parts(Protocol):
    """Where answers are kept between attempts: bytes by name, None where there are none or they were altered."""

    def get(self, name: str) -> bytes | None: ...

    def put(self, name: str, data: bytes) -> None: ...


@dataclass
class Attempt:
    """What a provider that asks for many things, one after the other, reports to and takes earlier answers from.

    parts : where answers are kept; None: nowhere
    tell : called with what is asked for, how many are done, of how many
    closed : the last session that was over when the attempt began; later bars still form
    totals, reused : by what is asked for, how many there are, and how many of them came from an earlier attempt
    """

    parts: Parts | None = None
    tell: Tell = lambda what, done, total: None
    closed: pd.Timestamp = field(default_factory=calendar.last_closed)
    totals: dict[str, int] = field(default_factory=dict)
    reused: dict[str, int] = field(default_factory=dict)

    def step(self, what: str, done: int, total: int) -> None:
        """So many are done now."""
        self.totals[what] = total
        self.tell(what, done, total)

    def table(self, what: str, name: str) -> pd.DataFrame | None:
        """The answer that an earlier attempt kept under that name, with plain columns; None: ask."""
        data = None if self.parts is None else self.parts.get(f"{what} {name}")
        if data is None:
            return None
        try:
            found = pa.ipc.open_stream(data).read_all().to_pandas(ignore_metadata=True)
        except pa.ArrowException:
            return None
        self.reused[what] = self.reused.get(what, 0) + 1
        return found

    def keep(self, what: str, name: str, table: pd.DataFrame) -> None:
        """Keep an answer for the next attempt; its index is left out."""
        if self.parts is None:
            return
        content, sink = pa.Table.from_pandas(table, preserve_index=False), pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, content.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as stream:
            stream.write(content)
        self.parts.put(f"{what} {name}", sink.getvalue().to_pybytes())
