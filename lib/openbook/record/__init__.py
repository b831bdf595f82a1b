"""What we keep and tell: runs, runner, monitoring, report."""

from openbook import lazily

__getattr__ = lazily(__name__)
