"""Is the model still good? The monitoring log and its summary."""

from openbook import lazily

__getattr__ = lazily(__name__)
