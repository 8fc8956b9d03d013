"""``ast-ray``: the command group."""

from __future__ import annotations

from typing import Any

import click

from ast_ray import __version__
from ast_ray.cli.commands import COMMANDS
from ast_ray.cli.errors import OURS_NOT, fail
from ast_ray.cli.options import without_empty_text
from ast_ray.cli.streams import say_json
from ast_ray.cli.submit import submit
from ast_ray.cli.tensorboard import tensorboard
from ast_ray.config.address import scrubbed
from ast_ray.config.own_methods import load_own_methods
from ast_ray.signals import cause, exit_code


class _Commands(click.Group):
    """Knows the user's own methods, and tells a script (``--json``) of a malformed command line in JSON too.

    Click's own message goes to stderr.
    """

    def invoke(self, ctx: click.Context) -> Any:
        as_json = "--json" in ctx.args
        try:
            load_own_methods()
            return super().invoke(ctx)
        except click.UsageError as error:
            told = scrubbed(error.format_message())
            if as_json:
                say_json({"error": {"type": "UsageError", "message": told}})
            raise click.UsageError(told, error.ctx) from None
        except OURS_NOT:
            raise
        except KeyboardInterrupt as error:
            click.echo(f"{cause(error)} before any work; the same command starts again", err=True)
            ctx.exit(exit_code(error))
        except Exception as error:  # outside of what `reported` watches over
            fail(error, as_json=as_json)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="ast-ray")
def main() -> None:
    """Dataset distillation: a handful of synthetic images on which a network trains nearly as well as on the whole set.

    Start with `ast-ray run --preset digits`. Every setting of a preset can be overridden by name.
    """


for command in (*COMMANDS.values(), without_empty_text(submit), without_empty_text(tensorboard)):
    main.add_command(command)
