"""What a trade costs: the one formula for orders, paper fills and backtests."""

import numpy as np
from pydantic import Field

from openbook.common.settings import Settings

BPS = 1e-4


class Costs(Settings):
    """Commission and slippage on the notional of each order, in USD; its sign does not matter, NaN stays NaN.

    Examples
    --------
    >>> ob.Costs(commission_bps=1, min_commission=1).commission([100, 1_000_000]).tolist()
    [1.0, 100.0]
    """

    commission_bps: float = Field(1.0, ge=0, le=1000, description="commission, basis points of notional")
    slippage_bps: float = Field(
        5.0, ge=0, le=1000, description="half spread plus market impact, basis points of notional"
    )
    min_commission: float = Field(0.0, ge=0, description="minimum commission per order, USD")

    def commission(self, notional):
        """Broker's fee in USD of orders of `notional` USD (scalar, array or Series); an order of zero costs nothing."""
        size = np.abs(notional)
        return np.maximum(size * (self.commission_bps * BPS), self.min_commission * (size > 0))

    def slippage(self, notional):
        """Expected loss against the reference price in USD, for orders of `notional` USD."""
        return np.abs(notional) * (self.slippage_bps * BPS)

    def total(self, notional):
        """Commission and slippage in USD, for orders of `notional` USD."""
        return self.commission(notional) + self.slippage(notional)

    def doubled(self) -> "Costs":
        """The same costs twice, for sensitivity."""
        return Costs(
            commission_bps=2 * self.commission_bps,
            slippage_bps=2 * self.slippage_bps,
            min_commission=2 * self.min_commission,
        )
