"""Which data can be believed: one session each evening, or a whole history before anybody trades on it."""

from openbook import lazily

__getattr__ = lazily(__name__)
