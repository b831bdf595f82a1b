"""What a vendor's ratio of new shares per old means: a split, exact to the share, or something recorded as one.

Vendors round (0.142857 is 1:7) or keep 32 bits (0.04 becomes 0.0399999991), and a holder of 700 shares would get 99
instead of 100. Some send a spin-off as a split too, since it divides earlier prices in the same way: of the 205 ratios
of 496 stocks from 2010 to 2023, 75 are not splits. A holder then keeps the number of shares.
"""

from fractions import Fraction
from functools import lru_cache
from math import gcd
from typing import Literal, NamedTuple

import numpy as np

MOST = 20  # n:m with both up to this: 3:2, 20:1, 7:10
MOST_TO_ONE = 1000  # n:1 and 1:n; 50:1 (BRK-B, 2010), 1:200
SURE_DECIMALS = 4  # 1.3333 is 4:3; with three, one number in ten lies by chance as near to an n:m (1.056, 1.063)
PLAIN = 6  # 1.333 may be 4:3; with a larger denominator so few decimals are no sign of a split
RATIOS = sorted(
    {Fraction(n, m) for n in range(1, MOST + 1) for m in range(1, MOST + 1) if gcd(n, m) == 1}
    | {Fraction(n) for n in range(1, MOST_TO_ONE + 1)}
    | {Fraction(1, n) for n in range(1, MOST_TO_ONE + 1)}
)

Kind = Literal["split", "spin_off", "unclear"]


class Ratio(NamedTuple):
    """A ratio as meant. value : new shares per old (a split), or the price before over the price after (a spin-off)"""

    value: Fraction
    kind: Kind


@lru_cache(maxsize=4096)
def read_ratio(value: float) -> Ratio:
    """The ratio that a vendor's number stands for, within the precision that it was stored with.

    split : n:m with n and m up to 20, n:1 and 1:n up to 1,000
    unclear : whole percents (1.05 is a stock dividend of 5%, or a spin-off), what is below 1 and no split (a reverse
        split with something else in it), and ratios with too few digits. A person who knows must
    spin_off : anything else
    """
    stored, error, decimals = _as_stored(value)
    if stored in _KNOWN:
        return Ratio(stored, "split")
    near = [ratio for ratio in RATIOS if abs(ratio - stored) <= error]
    if len(near) == 1 and (decimals >= SURE_DECIMALS or near[0].numerator == 1):
        return Ratio(near[0], "split")
    short = [ratio for ratio in near if ratio.denominator <= PLAIN]
    percent = (stored * 100).denominator == 1
    return Ratio(stored, "unclear" if stored < 1 or percent or short else "spin_off")


def _as_stored(value: float) -> tuple[Fraction, Fraction, int]:
    """The number as it was written; how far the one that was meant may lie from it: half of its last digit, or where
    it fills its bits, the distance to the next number; and its decimals."""
    single = np.float32(value)
    narrow = float(single) == value and len(repr(value)) > len(str(single))
    text = str(single) if narrow else repr(float(value))
    digits, _, power = text.partition("e")
    decimals = len(digits.partition(".")[2]) - int(power or 0)
    spacing = Fraction(float(np.spacing(single if narrow else np.float64(value))))
    return Fraction(text), max(Fraction(1, 2 * 10**decimals) if decimals > 0 else Fraction(0), spacing), decimals


_KNOWN = frozenset(RATIOS)
