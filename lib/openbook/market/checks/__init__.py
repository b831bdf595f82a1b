"""Which data is sound: of one session in each daily run, or of a whole history before trading on it."""

from openbook import lazily

__getattr__ = lazily(__name__)
