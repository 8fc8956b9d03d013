"""A folder on this machine that stands for an address in an object store: the address is the truth, the folder a cache.

The path of a mirrored file spells its address, so a job that carries the path finds the object from any node. What
`storage.atomic` publishes under such a path is uploaded at once; what is read is fetched when it is missing or old,
once per node, and checked.

An object store has no rename. Before an object is written, its checksum is announced beside it, in ``.sums/<name>``,
with the checksum of what stood there before; what is read must be one of them. A writer that dies at any point
leaves the old object or the new one, never half of one. Objects without an announcement are taken as they are.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote

from ast_ray.config.address import Address, is_address, local_path, parse_address
from ast_ray.errors import ConfigError, ResourceError, StoreError
from ast_ray.storage import object_store
from ast_ray.storage.lock import exclusive, hold
from ast_ray.storage.permissions import FILE

WORK, VIEW = "storage", "views"
SUMS = ".sums"
PENDING = ".pending"
LEASE = ".lease"
_KEPT = 8
_THREADS = 8
_SETTLED_NS = 2_000_000_000
_MARK = "%3A%2F%2F"
_checked: dict[Path, object_store.ObjectInfo | None] = {}


def place(text: str | Path, setting: str = "address") -> Path:
    """The folder to work in for a folder or an address, absolute.

    Raises:
        ConfigError: an address or a path that cannot be.
    """
    if isinstance(text, str) and is_address(text):
        return _mirror(text, WORK, setting)
    return local_path(str(text), setting)


def view(text: str | Path) -> Path:
    """The path to read from for a path or an address; a path is left as it is.

    Commands that only look have a mirror of their own, so that they never touch what a running job on this machine is
    still writing. A text is what a person typed; a `Path` has been here before, maybe on another machine.

    Raises:
        ConfigError: an address that cannot be; StoreError: a folder that only poses as the mirror of an address.
    """
    if isinstance(text, Path):
        return text
    if is_address(text):
        return _mirror(text, VIEW, "address")
    genuine(Path(os.path.expanduser(text)))
    return Path(text)


def genuine(path: Path) -> Path:
    """Return the path, which may come from a stranger's links, unless it only poses as the mirror of an address.

    Raises:
        StoreError: its server would be asked for what lies below it, by the name of a folder.
    """
    real = os.path.realpath(path)
    if _MARK in real and not Path(real).is_relative_to(_root()):
        raise StoreError(f"{path}: has the name of an address's mirror but is none of {_root()}; move it elsewhere")
    return path


def _mirror(text: str, kind: str, setting: str) -> Path:
    address = parse_address(text, setting)
    return _root() / kind / quote(address.authority, safe="") / address.key


def _root() -> Path:
    return Path(os.environ.get("AST_RAY_CACHE") or "~/.cache/ast-ray").expanduser().resolve()


def address_of(path: Path) -> Address | None:
    """The address a path stands for; None for files of this machine alone."""
    if _MARK not in str(path):
        return None
    parts = path.parts
    for number, part in enumerate(parts):
        if _MARK in part and parts[number - 1] in (WORK, VIEW):
            inside = parts[number + 1 :]
            if any(name.startswith(".partial-") for name in inside):
                return None
            try:
                base = parse_address(unquote(part))
            except ConfigError:
                return None
            return Address(base.scheme, base.bucket, "/".join(inside), base.options)
    return None


def shown(path: Path) -> str:
    """Return a path as messages show it: its address where it has one."""
    address = address_of(path)
    return str(path if address is None else address)


def check(path: Path, setting: str, *, writing: bool) -> None:
    """Refuse an address that cannot be used, before any work (see `object_store.check`); folders are fine here."""
    address = address_of(path)
    if address is not None:
        object_store.check(address, setting, writing=writing)


def publish(path: Path) -> None:
    """Upload a finished file if it stands for an address; the same content again costs one small request.

    Raises:
        ResourceError: after every attempt; the file stays and is published by whoever opens the run next.
    """
    address = address_of(path)
    if address is None:
        return
    new = _sum_of(path)
    known = _record(path)
    pending = _beside(path, PENDING)
    _write(pending, json.dumps([new, *filter(None, [known])]))
    announced = _announced(address)
    if announced == [new] and known == new and object_store.size(address) is not None:
        pending.unlink()
        return
    accepted = [new, *(old for old in announced or [] if old != new)][:_KEPT]
    _write(pending, json.dumps(accepted))
    object_store.write(_sums_address(address), json.dumps(accepted).encode())
    object_store.upload(path, address)
    if len(accepted) > 1:
        object_store.write(_sums_address(address), json.dumps([new]).encode())
    _write(_beside(path), new)
    pending.unlink(missing_ok=True)


def publish_tree(folder: Path) -> None:
    """Upload the files below a folder that changed since they were uploaded."""
    if address_of(folder) is None:
        return
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder).parts
        if path.is_file() and not any(part.startswith(".") for part in inside) and _record(path) != _sum_of(path):
            publish(path)


def fetch(path: Path, *, once: bool = False) -> bool:
    """Make sure that the file is here and is what its address holds; return whether there is one.

    ``once`` trusts a file this process has checked before: for files that never change.

    Raises:
        StoreError: the object is damaged or half uploaded; ResourceError: no answer.
    """
    address = address_of(path)
    if address is None:
        return path.exists()
    if once and path in _checked and path.exists():
        return True
    with exclusive(_beside(path, ".lock"), wait=True, owner="another process"):
        _finish(path, address)
        here = _bring(path, address)
    if here:
        _checked[path] = None
    return here


def _bring(path: Path, address: Address) -> bool:
    announced = _announced(address)
    known = _record(path) if path.exists() else None
    if known is not None and announced and known == announced[0]:
        return True
    if announced is None and known is not None and object_store.size(address) == path.stat().st_size:
        return True
    arrived = _download(path, address, announced)
    if arrived is None:
        path.unlink(missing_ok=True)
        _beside(path).unlink(missing_ok=True)
        return False
    _write(_beside(path), arrived)
    return True


def _download(path: Path, address: Address, announced: list[str] | None) -> str | None:
    """Fetch, check, and put under its name; None where there is nothing. A wrong sum is looked at twice."""
    for _ in range(2):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".partial-", suffix=path.suffix)
        hold(handle)
        temporary = Path(name)
        try:
            arrived = object_store.download(address, temporary)
            if arrived is None:
                return None
            size = int(arrived.split()[1])
            whole = arrived in announced if announced else size == object_store.size(address)
            if whole:
                temporary.chmod(FILE)
                os.replace(temporary, path)
                return arrived
        except OSError as error:
            raise ResourceError(f"cannot write {path}: {error.strerror or error}") from error
        finally:
            temporary.unlink(missing_ok=True)
            os.close(handle)
        announced = _announced(address)
    raise StoreError(f"{address}: half uploaded or damaged (its checksum is wrong); delete it and it is made again")


def _finish(path: Path, address: Address) -> None:
    """Publish a file whose upload was broken off, unless someone else has published since."""
    pending = _beside(path, PENDING)
    if not pending.exists():
        return
    try:
        accepted = list(json.loads(pending.read_text(encoding="utf-8")))
    except ValueError:
        accepted = []
    announced = _announced(address)
    if path.exists() and accepted and (announced is None or set(announced) <= set(accepted)):
        publish(path)
    pending.unlink(missing_ok=True)


def listed(folder: Path, pattern: str) -> list[Path]:
    """Paths below a folder that match, sorted; of an address, what it holds, fetched or not."""
    address = address_of(folder)
    if address is None:
        return sorted(folder.glob(pattern))
    _finish_all(folder)
    depth = len(PurePosixPath(pattern).parts)
    names = [PurePosixPath(name) for name in object_store.listing(address)]
    return sorted(folder / name for name in names if len(name.parts) == depth and name.match(pattern))


def size(path: Path) -> int:
    """Bytes of a file, fetched or not."""
    address = None if path.exists() else address_of(path)
    return path.stat().st_size if address is None else object_store.size(address) or 0


def pull(folder: Path, *, without: Iterable[str] = ()) -> None:
    """Make a folder hold what its address holds, but for the folders named ``without`` directly inside it.

    Raises:
        StoreError: a damaged object; ResourceError: no answer.
    """
    address = address_of(folder)
    if address is None:
        return
    _finish_all(folder)
    left_out = set(without)
    found = object_store.listing(address)
    if not found:
        object_store.check(address, "address", writing=False)
    wanted = {
        folder / name: info
        for name, info in found.items()
        if not left_out & {name.split("/")[0]} and SUMS not in name.split("/") and not name.startswith(LEASE)
    }
    for path in sorted(folder.rglob("*")) if folder.exists() else []:
        inside = path.relative_to(folder).parts
        if path.is_file() and path not in wanted and not left_out & {inside[0]} and not _hidden(inside):
            path.unlink()
    stale = [path for path, info in wanted.items() if _checked.get(path) != info or not path.exists()]
    asked = time.time_ns()
    with ThreadPoolExecutor(_THREADS) as threads:
        for _ in threads.map(fetch, stale):
            pass
    for path in stale:
        if wanted[path].mtime_ns < asked - _SETTLED_NS:  # times are whole seconds: a young object may yet change
            _checked[path] = wanted[path]


def remove(path: Path) -> None:
    """Delete a file, here and at its address; one that is not there is fine."""
    path.unlink(missing_ok=True)
    address = address_of(path)
    if address is None:
        return
    object_store.delete(address)
    object_store.delete(_sums_address(address))
    for beside in (_beside(path), _beside(path, PENDING)):
        beside.unlink(missing_ok=True)


def _finish_all(folder: Path) -> None:
    for pending in sorted(folder.rglob(f"{SUMS}/*{PENDING}")) if folder.exists() else []:
        path = pending.parents[1] / pending.name.removesuffix(PENDING)
        address = address_of(path)
        if address is not None:
            _finish(path, address)


def _hidden(parts: Iterable[str]) -> bool:
    return any(part.startswith(".") for part in parts)


def _beside(path: Path, suffix: str = "") -> Path:
    return path.parent / SUMS / f"{path.name}{suffix}"


def _sums_address(address: Address) -> Address:
    folder, _, name = address.key.rpartition("/")
    return Address(address.scheme, address.bucket, f"{folder}/{SUMS}/{name}".lstrip("/"), address.options)


def _announced(address: Address) -> list[str] | None:
    """Checksums one of which the object must have; None where nothing is announced."""
    content = object_store.read(_sums_address(address))
    if content is None:
        return None
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise StoreError(f"{_sums_address(address)}: not a list of checksums; delete it")
    return found


def _record(path: Path) -> str | None:
    """The checksum of the file as it was last fetched or uploaded."""
    try:
        return _beside(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".partial-{os.getpid()}-{path.name}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def _sum_of(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return f"{digest} {path.stat().st_size}"
