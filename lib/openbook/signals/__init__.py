"""What we predict: features, dataset, models."""

from openbook import lazily

__getattr__ = lazily(__name__)
