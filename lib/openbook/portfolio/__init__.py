"""What we would hold: regime, optimizers, construct, costs, backtest."""
