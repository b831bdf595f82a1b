"""Text that people and terminals can be shown."""

import unicodedata

from openbook.common.errors import UsageError

LONGEST = 200
# Characters that fonts show as nothing although they count as letters, marks or symbols (Unicode: default ignorable,
# and the blank of Braille).
BLANK = {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0, *range(0x180B, 0x1810), *range(0xFE00, 0xFE10),
         *range(0xE0100, 0xE01F0)}  # fmt: skip


def printable(text: str) -> str:
    """Without control, format and surrogate characters; line and paragraph separators become spaces."""
    spaced = (" " if c.isspace() or c in "\x85\u2028\u2029" else c for c in str(text))
    return "".join(c for c in spaced if unicodedata.category(c)[0] != "C")


def long_date(day) -> str:
    """A date with its weekday: Thursday, 1 December 2022."""
    return f"{day:%A}, {day.day} {day:%B %Y}"


def counted(n: int, noun: str) -> str:
    """A number of things: 1 day, 2 days."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def duration(seconds: float) -> str:
    """A span of time to its two largest units: 12 s, 4 min 10 s, 1 h 4 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def require_line(text: str, name: str) -> str:
    """One line that a reader sees, of at most 200 characters, for a record that stays; UsageError (64) names what is
    not."""
    line = text.strip()
    if not (0 < len(line) <= LONGEST and line.isprintable()):
        raise UsageError(f"{name} must be one line of 1 to {LONGEST} visible characters")
    if hidden := [ord(c) for c in line if ord(c) in BLANK]:
        raise UsageError(f"{name} has an invisible character, U+{hidden[0]:04X}; remove it")
    return line
