"""The world: calendar, tables, ingest, sources, checks, store."""

from openbook import lazily

__getattr__ = lazily(__name__)
