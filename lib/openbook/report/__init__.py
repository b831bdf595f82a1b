"""What people read: elements, charts, pages, mail."""

from openbook import lazily

__getattr__ = lazily(__name__)
