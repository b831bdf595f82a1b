"""What we would hold: regime, optimizers, construct, costs, backtest."""

from openbook import lazily

__getattr__ = lazily(__name__)
