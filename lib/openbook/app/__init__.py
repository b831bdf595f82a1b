"""What a command does: pipeline, commands, service, settings."""

from openbook import lazily

__getattr__ = lazily(__name__)
