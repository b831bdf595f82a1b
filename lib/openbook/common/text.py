"""Text that people and terminals can be shown."""

import unicodedata


def printable(text: str) -> str:
    """Without control, format and surrogate characters; line and paragraph separators become spaces."""
    spaced = (" " if c.isspace() or c in "\x85\u2028\u2029" else c for c in str(text))
    return "".join(c for c in spaced if unicodedata.category(c)[0] != "C")
