"""Handles of folders, wherever their files lie: on this machine, or behind an address in an object store.

The floors above know of no addresses. They open a `Folder`, or a directory that is one (`RunDirectory`), and ask it for
what they need; a job on another node may carry it. On plain folders the methods do no more than their `Path`
counterparts. What stands for an address, and how its files come and go, is in `mirror`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeAlias

from ast_ray.storage import mirror

_Paths: TypeAlias = list[Path]


@dataclass(frozen=True)
class Folder:
    """A folder to read from or to work in; ``path`` is where its files are worked on here.

    Methods that take a ``file`` take the path of one that lies in the folder, or, as a text, its name there.
    """

    path: Path

    @classmethod
    def at(cls, text: str | Path, setting: str = "address") -> Self:
        """Return the handle of a folder to work in, given as a path or an address; nothing is asked or written.

        Raises:
            ConfigError: an address or a path that cannot be; names the setting.
        """
        return cls(mirror.place(text, setting))

    @classmethod
    def open(cls, text: str | Path, setting: str) -> Self:
        """Open a folder to work in; an address has to be there and take what is written.

        Raises:
            ConfigError: an address that cannot be, or no such bucket; ResourceError: no answer, no permission.
        """
        folder = cls.at(text, setting)
        mirror.check(folder.path, setting, writing=True)
        return folder

    @classmethod
    def open_read_only(cls, text: str | Path) -> Self:
        """Open a folder to look at; what a running job on this machine is still writing is not touched.

        Raises:
            ConfigError: an address that cannot be; StoreError: a folder that only poses as the mirror of an address.
        """
        return cls(mirror.view(text))

    def genuine(self) -> Self:
        """Return the handle itself, whose path may come from a stranger's links.

        Raises:
            StoreError: it only poses as the mirror of an address.
        """
        mirror.genuine(self.path)
        return self

    def resolved(self) -> Self:
        """Return the handle with an absolute path, without links and ``~``."""
        return type(self)(self.path.expanduser().resolve())

    def __truediv__(self, name: str) -> Folder:
        """Return the folder of this name inside."""
        return Folder(self.path / name)

    def __str__(self) -> str:
        """Return the folder as a person names it: its address, or its path."""
        return self.shown(self.path)

    def shown(self, file: str | Path) -> str:
        """Return a file's name as messages show it: its address where it has one, without credentials."""
        return mirror.shown(self._inside(file))

    def _inside(self, file: str | Path) -> Path:
        return file if isinstance(file, Path) else self.path / file

    @property
    def is_local(self) -> bool:
        """True where the files are those of this machine, and no others."""
        return mirror.address_of(self.path) is None

    def fetch(self, file: str | Path, *, once: bool = False) -> bool:
        """Make sure that a file is here and is what others last published; return whether there is one.

        ``once`` trusts a file this process has checked before: for files that never change.

        Raises:
            StoreError: damaged or half uploaded; ResourceError: no answer.
        """
        return mirror.fetch(self._inside(file), once=once)

    def pull(self, *, without: Iterable[str] = ()) -> None:
        """Make the folder hold what others published in it, but for the folders ``without`` directly inside it.

        Raises:
            StoreError: a damaged file; ResourceError: no answer.
        """
        mirror.pull(self.path, without=without)

    def publish(self, file: str | Path | None = None) -> None:
        """Let others see a finished file; without one, all files that changed since they were published.

        What `storage.atomic` writes is published already.

        Raises:
            ResourceError: no answer; the file stays and is published by whoever opens the run next.
        """
        if file is None:
            mirror.publish_tree(self.path)
        else:
            mirror.publish(self._inside(file))

    def size(self, file: str | Path) -> int:
        """Return the bytes of a file, fetched or not."""
        return mirror.size(self._inside(file))

    def remove(self, file: str | Path) -> None:
        """Delete a file, for others too; one that is not there is fine."""
        mirror.remove(self._inside(file))

    def list(self, pattern: str) -> _Paths:
        """Return the paths in the folder that match, sorted, fetched or not."""
        return mirror.listed(self.path, pattern)
