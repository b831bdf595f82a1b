"""Messages: channels, outbox, alerts."""

from openbook import lazily

__getattr__ = lazily(__name__)
