"""Text for people."""

import pytest

from openbook.common.text import duration


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.2, "0 s"),
        (12.4, "12 s"),
        (59.7, "1 min 0 s"),
        (250, "4 min 10 s"),
        (3599, "59 min 59 s"),
        (3870, "1 h 4 min"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds, said):
    assert duration(seconds) == said
