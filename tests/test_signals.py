"""SIGTERM, SIGHUP and Ctrl-C in processes of their own: what they raise, and what is not lost."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.tiny import subprocess_environment

START = "import os, signal, sys, time\nfrom ast_ray import signals\nsignals.listen()\n"


def run(script: str, *, ignored: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a script after `listen`, as from a terminal; with ``ignored`` as nohup starts it."""
    before = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    before += "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" if ignored else ""
    return subprocess.run(
        [sys.executable, "-c", before + START + script],
        env=subprocess_environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("name", "code", "cause"),
    [("SIGTERM", 143, "ended by SIGTERM"), ("SIGHUP", 129, "ended by SIGHUP"), ("SIGINT", 130, "interrupted")],
)
def test_every_signal_is_a_keyboard_interrupt_with_its_code(name: str, code: int, cause: str) -> None:
    script = f"""
try:
    os.kill(os.getpid(), signal.{name})
    time.sleep(60)
except KeyboardInterrupt as error:
    print(signals.cause(error), signals.exit_code(error), type(signals.interruption()) is type(error))
"""
    assert run(script).stdout.split("\n")[0] == f"{cause} {code} True"


def test_what_nohup_ignores_stays_ignored() -> None:
    done = run("os.kill(os.getpid(), signal.SIGHUP)\nprint('on')", ignored=True)
    assert (done.returncode, done.stdout) == (0, "on\n")


def test_a_second_signal_does_not_break_off_what_the_first_one_lets_finish() -> None:
    script = """
try:
    os.kill(os.getpid(), signal.SIGTERM)
except KeyboardInterrupt:
    os.kill(os.getpid(), signal.SIGTERM)
    print("tidied up")
"""
    assert run(script).stdout == "tidied up\n"


def test_a_signal_that_python_loses_is_found_again() -> None:
    """What is raised in a callback of a fork or of a deleted object is dropped by the interpreter."""
    script = """
class Deleted:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(1000):
            pass

object = Deleted()
del object
print("lost", flush=True)
try:
    signals.check()
except KeyboardInterrupt as error:
    print(signals.cause(error))
"""
    done = run(script)
    assert done.stdout == "lost\nended by SIGTERM\n"
    assert done.stderr == "", "no trace of what is raised again"


def test_what_else_python_drops_is_told() -> None:
    script = """
class Deleted:
    def __del__(self):
        raise ValueError("a mistake")

object = Deleted()
del object
"""
    assert "a mistake" in run(script).stderr


def test_a_librarys_handler_is_kept_out_while_it_starts() -> None:
    script = """
import types

def set_handler(handler):
    signal.signal(signal.SIGTERM, handler)

library = types.SimpleNamespace(set_handler=set_handler)
with signals.keeping(library, "set_handler"):
    library.set_handler(signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # what it does below Python
assert library.set_handler is set_handler
try:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
except KeyboardInterrupt as error:
    print(signals.cause(error))
"""
    assert run(script).stdout == "ended by SIGTERM\n"


def test_a_handler_below_python_is_not_called_on_any_thread_while_a_library_starts() -> None:
    """The library's handler ends the process, and its thread would take the signal as soon as the main one does not."""
    script = """
import threading, types

library = types.SimpleNamespace(set_handler=print)
began = time.monotonic()
try:
    with signals.keeping(library, "set_handler"):
        thread = threading.Thread(target=time.sleep, args=(60,), daemon=True)
        thread.start()
        ours = signal.getsignal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as a library does below Python
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(100000):
            pass
        signal.signal(signal.SIGTERM, ours)  # Python's view of it, which a handler below does not change
        while time.monotonic() < began + 50:
            time.sleep(0.01)
except KeyboardInterrupt as error:
    print(signals.cause(error), time.monotonic() < began + 50, signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""
    assert run(script).stdout == "ended by SIGTERM True set()\n"


def test_a_signal_that_waits_at_the_end_of_a_librarys_start_is_raised_there() -> None:
    script = """
import types
library = types.SimpleNamespace(set_handler=print)
signals._thread = types.SimpleNamespace()  # nothing can be handed over meanwhile
signals.threading.Thread = lambda **_: types.SimpleNamespace(start=lambda: None, join=lambda: None)
try:
    with signals.keeping(library, "set_handler"):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
        print("not yet")
    time.sleep(60)
except KeyboardInterrupt as error:
    print(signals.cause(error))
"""
    assert run(script).stdout == "not yet\nended by SIGTERM\n"


def test_an_alarm_that_a_library_sets_with_its_handler_does_not_end_what_is_tidied_up() -> None:
    script = """
signal.setitimer(signal.ITIMER_REAL, 0.5)
try:
    os.kill(os.getpid(), signal.SIGTERM)
except KeyboardInterrupt:
    time.sleep(1)
    print("tidied up")
"""
    assert run(script).stdout == "tidied up\n"


def test_a_lost_signal_comes_before_the_error_of_the_library_that_it_ended() -> None:
    script = """
import types
library = types.SimpleNamespace(set_handler=print)

class Dropping:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)

try:
    with signals.keeping(library, "set_handler"):
        Dropping()
        raise RuntimeError("its processes are gone")
except KeyboardInterrupt as error:
    print(signals.cause(error))
"""
    assert run(script).stdout == "ended by SIGTERM\n"


def test_a_process_that_does_not_listen_keeps_its_handlers() -> None:
    script = """
signal.signal(signal.SIGTERM, signal.SIG_DFL)
import types
library = types.SimpleNamespace(set_handler=lambda handler: signal.signal(signal.SIGTERM, handler))
with signals.keeping(library, "set_handler"):
    library.set_handler(signal.SIG_IGN)
os.kill(os.getpid(), signal.SIGTERM)
print("on")
"""
    assert run(script).stdout == "on\n"


def test_leaving_runs_exit_functions_and_keeps_the_code() -> None:
    done = run("import atexit\natexit.register(lambda: print('last'))\nprint('first')\nsignals.leave(7)")
    assert (done.returncode, done.stdout) == (7, "first\nlast\n")


@pytest.mark.parametrize(("loaded", "after"), [("ray", ""), ("rays", "taken apart\n")])
def test_a_command_that_loaded_ray_ends_before_its_threads_find_their_memory_gone(loaded: str, after: str) -> None:
    script = f"""
import types
from ast_ray import __main__

class Late:
    def __del__(self, write=os.write):
        write(1, b"taken apart\\n")

late = Late()
sys.modules["{loaded}"] = types.ModuleType("{loaded}")
__main__._command = lambda: 130
__main__.run()
"""
    done = run(script)
    assert (done.returncode, done.stdout) == (130, after)
