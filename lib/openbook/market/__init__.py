"""The world: calendar, providers, quality, store, tables."""

from openbook import lazily

__getattr__ = lazily(__name__)
