"""Sealed runs: stage, notebook runner, kernels, audit log, verification, and the champion registry."""

from openbook import lazily

__getattr__ = lazily(__name__)
