"""What we predict: features, labels, learners, training, tuning."""

from openbook import lazily

__getattr__ = lazily(__name__)
