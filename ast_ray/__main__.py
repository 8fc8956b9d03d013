"""``python -m ast_ray`` is ``ast-ray``."""

from ast_ray.cli.main import main

main()
