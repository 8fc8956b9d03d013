"""SIGTERM and SIGHUP end a command as Ctrl-C does: what is finished is kept, and it says how to go on.

A batch system, a container's end or a closed terminal sends them. Left to Python the process is gone without a word;
left to Ray it ends in the log of a crash.
"""

from __future__ import annotations

import _thread
import atexit
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import Any

INTERRUPTED = 130
_PATIENCE = 5.0  # seconds in which repeated signals do not break off what the first one lets finish
_INTERRUPTS = 2  # Ctrl-C so often, that work and then cleaning up can end in order; the next one ends at once
_received: list[tuple[int, float]] = []
_finished: list[int] = []


class Ended(KeyboardInterrupt):
    """A signal that asks the process to end; whatever lets Ctrl-C through lets it through."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(signal.Signals(number).name)


def interruption() -> KeyboardInterrupt:
    """Return the signal that ended the work, for callers that learn only afterwards that one did."""
    number = _received[0][0] if _received else signal.SIGINT
    return KeyboardInterrupt() if number == signal.SIGINT else Ended(number)


def exit_code(error: KeyboardInterrupt) -> int:
    """130 for Ctrl-C; for a signal 128 and its number, as shells count: 143 for SIGTERM, 129 for SIGHUP."""
    return 128 + error.number if isinstance(error, Ended) else INTERRUPTED


def cause(error: KeyboardInterrupt) -> str:
    """Return a signal's name for people."""
    return f"ended by {error}" if isinstance(error, Ended) else "interrupted"


def check() -> None:
    """Raise what was received and got lost: Python drops what is raised in some callbacks, such as those of a fork."""
    if _received and threading.current_thread() is threading.main_thread():
        raise interruption()


def interrupt() -> None:
    """Raise `KeyboardInterrupt` in the main thread, from another one, also where SIGINT is ignored or not Python's.

    A shell starts its background jobs with SIGINT ignored, and there ``_thread.interrupt_main`` does nothing.
    """
    if callable(signal.getsignal(signal.SIGINT)):
        _thread.interrupt_main()
        return
    main = ctypes.c_ulong(threading.main_thread().ident or 0)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(main, ctypes.py_object(KeyboardInterrupt))


def _end(number: int, _frame: FrameType | None) -> None:
    if _finished:
        os._exit(_finished[-1])
    signal.alarm(0)  # Ray's handler, where it came first, ends the process three seconds later, whatever it is at
    again = bool(_received) and time.monotonic() - _received[-1][1] < _PATIENCE
    _received.append((number, time.monotonic()))
    if sum(one == signal.SIGINT for one, _ in _received) > _INTERRUPTS:
        os._exit(INTERRUPTED)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    if not again:
        raise Ended(number)


def listen() -> None:
    """Let SIGTERM and SIGHUP raise `Ended`, SIGINT `KeyboardInterrupt`, in the main thread.

    A signal that the process was started to ignore (nohup) stays ignored.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _dropped


def _dropped(lost: sys.UnraisableHookArgs) -> None:
    """Tell what Python had to drop, but for signals, which `check` raises again."""
    if not (_received and isinstance(lost.exc_value, KeyboardInterrupt)):
        sys.__unraisablehook__(lost)


@contextmanager
def swapped(owner: Any, name: str, swap: Callable[[Any], Any]) -> Iterator[None]:
    """Put ``swap(owner.name)`` in its place for the block; where there is none, nothing is done."""
    real = getattr(owner, name, None)
    if real is None:
        yield
        return
    setattr(owner, name, swap(real))
    try:
        yield
    finally:
        setattr(owner, name, real)


def _listens() -> bool:
    return threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is _end


@contextmanager
def keeping(owner: Any, setter: str) -> Iterator[None]:
    """Keep what `listen` set while a library that sets handlers of SIGTERM starts in the block.

    Its ``owner.setter`` does nothing meanwhile. A handler that it sets below Python is never called and is taken back
    at the end: SIGTERM is blocked in the block, also for the threads that start there, and stays so for them. Threads
    that are older would still call it. Nothing is done for a process that does not listen.
    """
    mine = _listens()
    try:
        with (
            swapped(owner, setter, lambda _real: lambda _handler: None) if mine else nullcontext(),
            _handed_over() if mine and hasattr(signal, "pthread_sigmask") else nullcontext(),
        ):
            yield
    finally:
        if mine:
            listen()
        check()  # also in place of an error: what the signal ended elsewhere may be why the library failed


@contextmanager
def _handed_over() -> Iterator[None]:
    """Block SIGTERM for the block; a thread looks for one that waits and has the main thread raise it."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.05):
            if signal.SIGTERM in signal.sigpending():
                signal.sigwait({signal.SIGTERM})
                _thread.interrupt_main(signal.SIGTERM)

    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    thread = threading.Thread(target=look, name="sigterm", daemon=True)
    try:
        thread.start()
        yield
    finally:
        try:
            over.set()
            thread.join()
        finally:
            listen()  # first: one that waits comes with the next line
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def finish(code: int) -> None:
    """Let signals end the process with this code from here on: nothing is left that could be ended in order."""
    _finished.append(code)


def leave(code: int) -> None:
    """End the process with this exit code after its exit functions, without taking the interpreter apart.

    Threads of Ray and Arrow may still run then, and would find their memory gone: a crash after all is done, whose exit
    code replaces this one.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue
    os._exit(code)
