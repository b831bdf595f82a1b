"""YAML that people write, read without surprises, and what pydantic found wrong with it in words."""

from typing import Any, ClassVar

import yaml
from pydantic import ValidationError

from openbook.common.errors import ParameterError


class _StrictLoader(yaml.SafeLoader):
    """YAML without surprises: no tags, no duplicate keys, and a date stays the text that was written."""

    yaml_implicit_resolvers: ClassVar = {  # type: ignore[misc]  # the stubs call it an attribute of instances
        first: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:timestamp"]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"duplicate key {twice[0]!r}", node.start_mark)
        return super().construct_mapping(node, deep=deep)


def parse_yaml(text: str, where: str) -> Any:
    """A YAML text as plain Python values; ParameterError (78) names the place."""
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        raise ParameterError(f"{where}: {' '.join(str(error).split())}") from None


def in_words(error: ValidationError) -> str:
    """Everything that pydantic found wrong, each with its key."""
    return "; ".join(_sentence(fault) for fault in error.errors())


def _sentence(fault: Any) -> str:
    """One pydantic fault in words: which key, what is wrong with it."""
    key = ".".join(str(part) for part in fault["loc"]) or "the file"
    if fault["type"] == "extra_forbidden":
        return f"unknown parameter {key}"
    return f"{key}: {fault['msg']}"
