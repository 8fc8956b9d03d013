"""The YAML of every file of settings: plain values, numbers as on the command line, no key twice.

Numbers follow YAML 1.2: ``010`` is ten and ``1e-6`` a number. PyYAML alone follows YAML 1.1, where ``010`` is eight,
``1:30`` ninety, ``1e-6`` text, and the first of two equal keys is lost without a word.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

_INT, _FLOAT, _TIMESTAMP = (f"tag:yaml.org,2002:{name}" for name in ("int", "float", "timestamp"))
_MERGE = "tag:yaml.org,2002:merge"
_WHOLE = re.compile(r"[-+]?[0-9]+$")
_REAL = re.compile(r"([-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$")


class _Reader(yaml.SafeLoader):
    """Builds plain values only, as `yaml.SafeLoader` does."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in known if tag not in (_INT, _FLOAT, _TIMESTAMP)]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Build a mapping, or refuse one that names a key twice."""
        places: dict[Hashable, yaml.Mark] = {}
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if key_node.tag == _MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and places.setdefault(key, key_node.start_mark) is not key_node.start_mark:
                told = f"key {key!r} again; it stands in line {places[key].line + 1} already"
                raise yaml.constructor.ConstructorError(None, None, told, key_node.start_mark)
        return super().construct_mapping(node, deep=deep)


def _whole(reader: _Reader, node: yaml.ScalarNode) -> int:
    """Read a whole number in base ten."""
    text = reader.construct_scalar(node)
    try:
        return int(text, 10)
    except ValueError:
        told = f"{text[:40]!r} is not a whole number"
        raise yaml.constructor.ConstructorError(None, None, told, node.start_mark) from None


class _Writer(yaml.SafeDumper):
    """Quotes every text that `_Reader` would take for a number."""


for _kind in (_Reader, _Writer):
    _kind.add_implicit_resolver(_INT, _WHOLE, list("-+0123456789"))
    _kind.add_implicit_resolver(_FLOAT, _REAL, list("-+.0123456789"))
_Reader.add_constructor(_INT, _whole)


def read_yaml(text: str) -> Any:
    """Return the plain values of one YAML document.

    >>> read_yaml("expert: {epochs: 010, lr: 1e-2}")
    {'expert': {'epochs': 10, 'lr': 0.01}}

    Raises:
        yaml.YAMLError: not YAML, a key that stands twice in one mapping, or more than plain values.
    """
    reader = _Reader(text)
    try:
        return reader.get_single_data()
    finally:
        reader.dispose()


def write_yaml(values: Any) -> str:
    """Return plain values as YAML that `read_yaml` reads back to equal ones, keys in their order."""
    return yaml.dump(values, Dumper=_Writer, sort_keys=False, allow_unicode=True)
