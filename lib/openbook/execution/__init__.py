"""What is ordered: orders, risk checks, kill switch, brokers, and what trading has cost."""

from openbook import lazily

__getattr__ = lazily(__name__)
