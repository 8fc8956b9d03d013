"""Who trains which expert: leases that end with their holder. Plain Python, no Ray; the clock is an argument."""

from __future__ import annotations

from dataclasses import dataclass

READY, TRAIN, WAIT, BROKEN = "ready", "train", "wait", "broken"


@dataclass(frozen=True)
class Answer:
    """``ready``: all there. ``train``: this expert is yours. ``wait``: others are at it. ``broken``: cannot be had."""

    kind: str
    expert_id: int = -1
    reason: str = ""


@dataclass
class _Lease:
    holder: str
    seen: float


class Leases:
    """Hands out the missing experts of each buffer, each to one holder at a time.

    A holder that asks again gets what it held (it was restarted); one that was not heard of for ``patience`` seconds
    loses its expert to the next who asks.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._held: dict[tuple[str, int], _Lease] = {}
        self._broken: dict[str, str] = {}

    def ask(self, buffer: str, missing: list[int], holder: str, now: float) -> Answer:
        """Answer a holder who needs a buffer of which ``missing`` experts have no file yet."""
        if buffer in self._broken:
            return Answer(BROKEN, reason=self._broken[buffer])
        if not missing:
            return Answer(READY)
        for expert_id in missing:
            lease = self._held.get((buffer, expert_id))
            if lease is None or lease.holder == holder or now - lease.seen > self._patience:
                self._held[buffer, expert_id] = _Lease(holder, now)
                return Answer(TRAIN, expert_id)
        return Answer(WAIT)

    def beat(self, buffer: str, expert_id: int, holder: str, now: float) -> None:
        """The holder is alive; also restores leases after the keeper itself was restarted."""
        lease = self._held.get((buffer, expert_id))
        if lease is None or lease.holder == holder:
            self._held[buffer, expert_id] = _Lease(holder, now)

    def done(self, buffer: str, expert_id: int, holder: str) -> None:
        """The holder has finished, or gives the expert back."""
        lease = self._held.get((buffer, expert_id))
        if lease is not None and lease.holder == holder:
            del self._held[buffer, expert_id]

    def drop(self, holder: str) -> None:
        """The holder is known to be dead: all it held is free."""
        self._held = {key: lease for key, lease in self._held.items() if lease.holder != holder}

    def give_up(self, buffer: str, reason: str) -> None:
        """No one can train this buffer: tell everyone who asks."""
        self._broken[buffer] = reason
