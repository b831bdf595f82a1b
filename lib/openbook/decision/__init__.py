"""One session: the daily decision from its inputs, its attribution, and the rationale of each order."""

from openbook import lazily

__getattr__ = lazily(__name__)
