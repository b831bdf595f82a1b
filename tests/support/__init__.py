"""What tests share: small markets and books, trained desks, real servers, and slow references.

A process that a test starts finds this package with `environment()`.
"""

import os
from pathlib import Path

TESTS = Path(__file__).parents[1]


def environment() -> dict[str, str]:
    """The environment of a Python process that imports from here."""
    return os.environ | {"PYTHONPATH": str(TESTS)}
