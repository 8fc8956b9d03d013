"""``python -m ast_ray`` is ``ast-ray``."""

import sys


def run() -> None:
    """Load and run the command line; Ctrl-C while it still loads ends quietly too."""
    try:
        from ast_ray.cli.main import main
    except KeyboardInterrupt:
        sys.exit(130)
    main()


if __name__ == "__main__":
    run()
