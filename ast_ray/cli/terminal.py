"""The way to the terminal: every text is shown as it is and read as no instruction, by the terminal or by rich."""

from __future__ import annotations

from typing import IO, Any

import click
from rich.console import Console
from rich.text import Text

from ast_ray.config.printable import printable

_USUAL = 80


class Terminal(Console):
    """rich's console with control characters spelled out, and square brackets and colons left alone."""

    def __init__(self, *, stderr: bool = False, file: IO[str] | None = None, width: int | None = None) -> None:
        super().__init__(stderr=stderr, file=file, width=width, markup=False, emoji=False)
        if self.width < 1:  # COLUMNS=0, as where nobody knows: rich would show nothing at all
            self.width = _USUAL

    def render_str(self, text: str, **options: Any) -> Text:
        """Turn a text, which rich asks for here wherever it meets one, into what is shown."""
        return super().render_str(printable(text), **options)


def echo(text: str) -> None:
    """Print a line on stdout."""
    click.echo(printable(text))
