"""What we would hold: regime, optimizers, constraints, target weights, costs."""

from openbook import lazily

__getattr__ = lazily(__name__)
