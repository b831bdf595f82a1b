"""The book: events, settlement, records, and the databases that keep them."""

from openbook import lazily

__getattr__ = lazily(__name__)
