"""The processes of a team: plain Ray actors that meet through torch.distributed, on the loopback interface if they can.

Nothing listens on every interface: the store that members meet at is bound to the address its machine has in the Ray
cluster (127.0.0.1 when all are on one machine), and so are gloo's connections.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import ray
import torch
import torch.distributed as dist
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from ast_ray.errors import WorkerLostError
from ast_ray.stages.distillation.team import PATIENCE, ProcessTeam

LOOPBACK = "127.0.0.1"
_MEETING = timedelta(minutes=2)
_SIOCGIFADDR = 0x8915  # Linux: the IPv4 address of an interface


class Member:
    """One process of a team."""

    def __init__(self) -> None:
        self._store: Any = None

    def where(self) -> tuple[str, bool]:
        """The machine's address in the cluster, and whether torch sees a GPU here."""
        return ray.util.get_node_ip_address(), torch.cuda.is_available()

    def open_store(self, host: str, size: int) -> int:
        """Open the store that all members meet at, on this address only, and return its port."""
        with socket.socket() as listener:
            listener.bind((host, 0))
            listener.listen()
            port = int(listener.getsockname()[1])
            self._store = TCPStore(
                host, port, size, True, _MEETING, wait_for_workers=False, master_listen_fd=listener.detach()
            )
        return port

    def join(self, rank: int, size: int, host: str, port: int, backend: str) -> None:
        """Join the process group that meets at ``host``.

        Raises:
            WorkerLostError: another member did not come.
        """
        address = LOOPBACK if host == LOOPBACK else ray.util.get_node_ip_address()
        interface = interface_of(address)
        if interface is not None:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
        try:
            store = self._store or TCPStore(host, port, size, False, _MEETING)
            dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
        except RuntimeError as error:
            raise WorkerLostError(f"the team did not come together ({str(error).splitlines()[0]})") from error

    def work(self, function: Callable[..., Any], job: Any, sink: Any) -> Any:
        """Call a stage as a member of the team."""
        return function(job, sink, ProcessTeam())


RemoteMember: Any = ray.remote(max_restarts=0, max_task_retries=0)(Member)


def interface_of(address: str) -> str | None:
    """The network interface with this IPv4 address; None where it cannot be told."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            try:
                answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, request)
            except OSError:  # an interface without an address
                continue
            if socket.inet_ntoa(answer[20:24]) == address:
                return name
    return None
