"""`errata completion`: the scripts with which shells complete commands."""

from enum import StrEnum
from typing import Annotated

from typer import Argument


class Shell(StrEnum):
    """A shell that can complete."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(shell: Annotated[Shell, Argument(help="the shell that is to complete", show_default=False)]) -> None:
    """Write the script with which a shell completes these commands."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # there, and not named as typer's own

    print(get_completion_script(prog_name="errata", complete_var="_ERRATA_COMPLETE", shell=shell))
