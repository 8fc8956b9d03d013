"""``python -m ast_ray`` is ``ast-ray``."""

import sys

from ast_ray.signals import exit_code, leave, listen


def run() -> None:
    """Load and run the command line; what ends it while it still loads ends it quietly too."""
    listen()
    try:
        from ast_ray.cli.main import main

        main()
    except KeyboardInterrupt as error:
        sys.exit(exit_code(error))
    except SystemExit as end:
        if "ray" in sys.modules and isinstance(end.code, int):
            leave(end.code)
        raise


if __name__ == "__main__":
    run()
