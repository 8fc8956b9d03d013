"""``python -m ast_ray`` is ``ast-ray``."""

import os
import signal
import sys
from types import FrameType

_INTERRUPTED, _PATIENCE = 130, 2


class _Interrupts:
    """Ctrl-C: twice as ever, so that work and cleaning up can end in order; then at once, without a trace."""

    def __init__(self) -> None:
        self._count, self._code = 0, _INTERRUPTED

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self._count > _PATIENCE:
            os._exit(self._code)
        signal.default_int_handler(number, frame)

    def end(self, code: int) -> None:
        """From here on a signal ends the process with this code: nothing is left that could be ended in order."""
        self._count, self._code = _PATIENCE, code


def run() -> None:
    """Load and run the command line; no signal and no stream makes it end in a trace."""
    interrupts = _Interrupts()
    signal.signal(signal.SIGINT, interrupts)
    code = _INTERRUPTED
    try:
        code = _command()
        interrupts.end(code)
        from ast_ray.cli.streams import flushed

        code = flushed(code)
    except KeyboardInterrupt:
        interrupts.end(code)
    sys.exit(code)


def _command() -> int:
    """Run the command line; return its exit code."""
    from ast_ray.cli.errors import fail
    from ast_ray.cli.main import main
    from ast_ray.cli.streams import prepare

    prepare()
    try:
        try:
            main()
        except Exception as error:  # before a command begins, as where --help cannot be written
            fail(error, as_json="--json" in sys.argv)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


if __name__ == "__main__":
    run()
