"""A real S3 server (moto's) in a process of its own on the loopback interface, which can be told to fail.

``python -m tests.object_store`` serves on a free port and prints it. Posting JSON to ``/faults`` sets
``every``: each so many requests one fails (0 = none), ``first``: so many requests fail at once, ``how``: "503", or
"drop" (the connection is closed without an answer), or "both" in turn, or "deny", and ``only``: a part of the path it
is limited to. The answer says how many requests there were and how many failed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.request import Request, urlopen

from tests.tiny import subprocess_environment

BUCKET = "bucket"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIAPLANTEDKEYNAME", "AWS_SECRET_ACCESS_KEY": "planted-secret-of-the-tests"}
DENIED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


class Faulty:
    """A WSGI application in front of moto's that fails on demand."""

    def __init__(self, inner: Callable[..., Any]) -> None:
        self._inner, self._lock = inner, threading.Lock()
        self._faults: dict[str, Any] = {}
        self._reset({})

    def _reset(self, faults: dict[str, Any]) -> None:
        self._faults = {"every": 0, "first": 0, "how": "503", "only": "", **faults}
        self._count = self._matched = self._failed = 0

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        if environ["PATH_INFO"] == "/faults":
            told = json.dumps({"requests": self._count, "failed": self._failed}).encode()
            self._reset(json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))))
            start_response("200 OK", [("Content-Type", "application/json")])
            return [told]
        if not self._fails(environ):
            return self._inner(environ, start_response)
        return self._fail(environ, start_response)

    def _fails(self, environ: dict[str, Any]) -> bool:
        with self._lock:
            self._count += 1
            only = self._faults["only"]
            if only not in environ["PATH_INFO"]:
                return False
            self._matched += 1
            every = self._faults["every"]
            fails = self._matched <= self._faults["first"] or (every > 0 and self._matched % every == 0)
            self._failed += fails
            return fails

    def _fail(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        how = self._faults["how"]
        if how == "both":
            how = ("503", "drop")[self._failed % 2]
        if how == "drop":
            environ["werkzeug.socket"].shutdown(2)
            raise ConnectionError("dropped on purpose")
        status, body = ("403 Forbidden", DENIED) if how == "deny" else ("503 Slow Down", b"")
        start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [body]


def serve() -> None:
    """Serve until the standard input is closed."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Handler(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, type: str, message: str, *args: Any) -> None:
            """Say nothing."""

    server = make_server("127.0.0.1", 0, Faulty(DomainDispatcherApplication(create_backend_app)), True, 1, Handler)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


@dataclass(frozen=True)
class ObjectStore:
    """A running server with an empty bucket."""

    port: int

    @property
    def query(self) -> str:
        """What an address needs to reach it."""
        return f"endpoint_override=127.0.0.1:{self.port}&scheme=http"

    def address(self, key: str, bucket: str = BUCKET) -> str:
        """The address of a key."""
        return f"s3://{bucket}/{key}?{self.query}"

    @property
    def files(self) -> Any:
        """The server through pyarrow, for tests to look past the package."""
        from pyarrow import fs

        return fs.S3FileSystem(
            endpoint_override=f"127.0.0.1:{self.port}",
            scheme="http",
            region="us-east-1",
            allow_bucket_creation=True,
            allow_delayed_open=True,
        )

    def names(self, key: str) -> dict[str, int]:
        """Sizes of all objects below a key."""
        from pyarrow import fs

        found = self.files.get_file_info(fs.FileSelector(f"{BUCKET}/{key}", recursive=True, allow_not_found=True))
        return {item.path[len(BUCKET) + 2 + len(key) :]: item.size for item in found if item.is_file}

    def content(self, key: str) -> bytes:
        """The bytes of an object."""
        with self.files.open_input_stream(f"{BUCKET}/{key}") as stream:
            return bytes(stream.read())

    def put(self, key: str, content: bytes) -> None:
        """Put an object as some other tool would."""
        with self.files.open_output_stream(f"{BUCKET}/{key}") as stream:
            stream.write(content)

    def faults(self, **faults: object) -> dict[str, int]:
        """Set what fails from here on; return the counts since the last call."""
        request = Request(f"http://127.0.0.1:{self.port}/faults", json.dumps(faults).encode(), method="POST")
        with urlopen(request) as answer:
            found: dict[str, int] = json.loads(answer.read())
        return found


@contextmanager
def running() -> Iterator[ObjectStore]:
    """Start the server, make the bucket, and end the server afterwards. Needs `CREDENTIALS` in the environment."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.object_store"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**subprocess_environment(), "PYTHONWARNINGS": "ignore"},
    )
    try:
        assert process.stdout is not None
        store = ObjectStore(int(process.stdout.readline()))
        store.files.create_dir(BUCKET)
        yield store
    finally:
        process.communicate()


if __name__ == "__main__":
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    serve()
