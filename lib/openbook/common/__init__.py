"""What every room uses: errors, constants, files, secrets, parallel tasks, and where a desk is."""

from openbook import lazily

__getattr__ = lazily(__name__)
