"""Commands of a group by their names, imported when they are asked for.

So that `penstock --help` and `penstock send` start fast. It must not know a command.
"""

import importlib
from collections.abc import Mapping
from typing import Any

import click


class Subcommands(click.Group):
    """A group whose commands are listed in their reading order.

    Args:
        modules: by the command's name, the module under penstock.cli that holds its
            click object `command`.
    """

    def __init__(self, *, modules: Mapping[str, str], **attributes: Any) -> None:
        super().__init__(**attributes)
        self._modules = modules

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module_name = self._modules.get(cmd_name)
        if module_name is None:
            return None
        command = importlib.import_module(f"penstock.cli.{module_name}").command
        assert isinstance(command, click.Command)
        return command
