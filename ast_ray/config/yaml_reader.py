"""The YAML of every file of settings: plain values within limits, numbers as on the command line, no key twice.

PyYAML's safe loader runs no code, but a few lines of aliases describe more values than there is memory for, and a value
that contains itself has no end. Limits are far above what a configuration of every setting needs.

Numbers follow YAML 1.2: ``010`` is ten and ``1e-6`` a number. PyYAML alone follows YAML 1.1, where ``010`` is eight,
``1:30`` ninety, ``1e-6`` text, and the first of two equal keys is lost without a word.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from ast_ray.config.files import MISSING, file_problem, reason
from ast_ray.config.text_seal import unsealed_text

LARGEST = 2**18
DEEPEST = 20
MOST_VALUES = 10_000
_LONGEST = 300  # characters of PyYAML's message

_INT, _FLOAT, _TIMESTAMP = (f"tag:yaml.org,2002:{name}" for name in ("int", "float", "timestamp"))
_MERGE = "tag:yaml.org,2002:merge"
_WHOLE = re.compile(r"[-+]?[0-9]+$")
_REAL = re.compile(r"([-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$")


class _Loader(yaml.SafeLoader):
    """Counts values while they are composed, aliases as what they stand for, before any of them is built."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in known if tag not in (_INT, _FLOAT, _TIMESTAMP)]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._values = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose one value, with what it contains.

        Raises:
            ValueError: deeper, more, or an alias to a value that contains it.
        """
        mark = self.peek_event().start_mark
        where = f"line {mark.line + 1}"
        if self.check_event(yaml.AliasEvent):
            node = super().compose_node(parent, index)
            if id(node) not in self._sizes:
                raise ValueError(f"{where}: a value that contains itself")
            self._values += self._sizes[id(node)]
        else:
            self._depth += 1
            if self._depth > DEEPEST:
                raise ValueError(f"{where}: nested deeper than {DEEPEST} levels")
            before = self._values
            self._values += 1
            node = super().compose_node(parent, index)
            self._sizes[id(node)] = self._values - before
            self._depth -= 1
        if self._values > MOST_VALUES:
            raise ValueError(f"{where}: more than {MOST_VALUES} values, aliases counted as what they stand for")
        return node

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


class _Writer(yaml.SafeDumper):
    """Quotes every text that `_Loader` would take for a number."""


def _whole(loader: _Loader, node: yaml.ScalarNode) -> int:
    """Read a whole number in base ten."""
    text = loader.construct_scalar(node)
    try:
        return int(text, 10)
    except ValueError:
        told = f"{text[:40]!r} is not a whole number"
        raise yaml.constructor.ConstructorError(None, None, told, node.start_mark) from None


for _kind in (_Loader, _Writer):
    _kind.add_implicit_resolver(_INT, _WHOLE, list("-+0123456789"))
    _kind.add_implicit_resolver(_FLOAT, _REAL, list("-+.0123456789"))
_Loader.add_constructor(_INT, _whole)


def read_yaml(path: Path) -> object:
    """Return the plain values of a YAML file.

    Raises:
        OSError: the file cannot be read; ValueError: it is not YAML, or beyond the limits; says where.
    """
    if (problem := file_problem(path)) and problem != MISSING:
        raise ValueError(problem)
    with path.open("rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"larger than {LARGEST // 1024} KiB, which no configuration is")
    try:
        return parse_yaml(unsealed_text(content.decode("utf-8")))
    except UnicodeDecodeError as error:
        raise ValueError(f"is not YAML: not UTF-8 text at byte {error.start}") from None


def parse_yaml(text: str) -> Any:
    """Return the plain values of a YAML text.

    >>> parse_yaml("expert: {epochs: 010, lr: 1e-2}")
    {'expert': {'epochs': 10, 'lr': 0.01}}

    Raises:
        ValueError: not YAML, a key that stands twice in one mapping, or beyond the limits; says where.
    """
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            return None if node is None else _built(loader, node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise ValueError(f"is not YAML: {' '.join(str(error).split())[:_LONGEST]}") from None


def _built(loader: _Loader, node: yaml.Node) -> object:
    try:
        return loader.construct_document(node)
    except (
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        OverflowError,
    ) as error:  # dates, numbers, tags of types
        raise ValueError(f"holds a value that cannot be ({reason(error)})") from None


def write_yaml(values: Any) -> str:
    """Return plain values as YAML that `parse_yaml` reads back to equal ones, keys in their order."""
    return yaml.dump(values, Dumper=_Writer, sort_keys=False, allow_unicode=True)
