"""Many sessions: the daily decision applied through time, the grid of all combinations, and its baselines."""

from openbook import lazily

__getattr__ = lazily(__name__)
