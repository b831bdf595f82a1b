"""What we do: trades, safety, book."""

from openbook import lazily

__getattr__ = lazily(__name__)
