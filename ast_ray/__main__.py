"""``python -m ast_ray`` is ``ast-ray``."""

import sys

from ast_ray.signals import exit_code, finish, leave, listen


def run() -> None:
    """Load and run the command line; no signal and no stream makes it end in a trace, also while it still loads."""
    listen()
    code = None
    try:
        code = _command()
        finish(code)
        from ast_ray.cli.streams import flushed

        code = flushed(code)
    except KeyboardInterrupt as error:
        code = exit_code(error) if code is None else code
        finish(code)
    if "ray" in sys.modules:
        leave(code)
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
