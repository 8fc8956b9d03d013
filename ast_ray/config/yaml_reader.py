"""The one reader of YAML: plain values only, within limits of size, depth and repetition.

PyYAML's safe loader runs no code, but a few lines of aliases describe more values than there is memory for, and a value
that contains itself has no end. Limits are far above what a configuration of every setting needs.
"""

from __future__ import annotations

from pathlib import Path

import yaml

LARGEST, DEEPEST, MOST_VALUES = 2**18, 20, 10_000


class _Loader(yaml.SafeLoader):
    """Counts values while they are composed, aliases as what they stand for, before any of them is built."""

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


def read_yaml(path: Path) -> object:
    """Return the plain values of a YAML file.

    Raises:
        OSError: the file cannot be read; ValueError: it is not YAML, or beyond the limits; says where.
    """
    if path.exists() and not path.is_file():
        raise ValueError("not a plain file")
    with path.open("rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"larger than {LARGEST // 1024} KiB, which no configuration is")
    try:
        return parse_yaml(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"is not YAML: not UTF-8 text at byte {error.start}") from None


def parse_yaml(text: str) -> object:
    """Return the plain values of a YAML text.

    Raises:
        ValueError: not YAML, or beyond the limits; says where.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        return None if node is None else _built(loader, node)
    except yaml.YAMLError as error:
        raise ValueError(f"is not YAML: {' '.join(str(error).split())}") from None
    finally:
        loader.dispose()


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
        raise ValueError(f"holds a value that cannot be ({error})") from None
