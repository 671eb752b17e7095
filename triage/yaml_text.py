"""YAML in which no key stands twice: of two the last would count, and nobody would be told."""

from typing import Any

import yaml


class _Once(yaml.SafeLoader):
    """Reads plain values, and refuses a mapping that has a key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - as its parent has it
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line = key.start_mark.line + 1
            if key.value in lines:
                msg = f"the key {key.value} stands twice, in lines {lines[key.value]} and {line}"
                raise yaml.YAMLError(msg)
            lines[key.value] = line
        return super().construct_mapping(node, deep=deep)


def read(text: str) -> Any:  # noqa: ANN401 - YAML
    """Give the plain values that a text holds.

    Raises:
        yaml.YAMLError: it is no YAML, or has a key twice.
    """
    loader = _Once(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()
