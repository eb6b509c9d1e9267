"""`errata`: the application and its commands.

A command imports what is slow to load (torch, pydantic, the clients of Redis and HTTP) inside its functions, so that
help is there at once, and so is word of a mistake that was typed.
"""

import sys
from typing import Annotated

import typer

from errata.errors import ErrataError, InvalidFacts
from errata_cli.alone import follow, service, statistics, worker
from errata_cli.bench import bench
from errata_cli.completion import completion
from errata_cli.demo import demo
from errata_cli.doctor import doctor
from errata_cli.errors import CommandError
from errata_cli.evaluate import evaluate
from errata_cli.home_folder import import_version, reindex, to_bucket, verify
from errata_cli.new_key import new_key
from errata_cli.trace import trace
from errata_cli.train_mend import train_mend
from errata_cli.tune import tune
from errata_cli.up import up

app = typer.Typer(
    help="Corrects the facts inside a language model while it keeps serving. "
    "What is not given on the command line is taken from ERRATA_* variables.",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    rich_markup_mode=None,  # plain text, which is there in a third of the time
    pretty_exceptions_enable=False,
)


def _say_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"errata {version('errata')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """What stands before a command."""


for command in (up, service, worker, follow, demo, doctor, completion, new_key, reindex, verify, to_bucket):
    app.command()(command)
app.command("import")(import_version)
for study in (statistics, train_mend, trace, evaluate, bench, tune):
    app.command()(study)


def main() -> None:
    """Run the command that was typed.

    Exit with 1 on a failure that the user can act on, told in one line, or in one for each fact or record that is
    wrong; with 2 where the command line itself is wrong; with 130 on Ctrl-C.
    """
    try:
        app(prog_name="errata")
    except SystemExit as ended:
        if ended.code:  # typer exits with 0 from what went well, too
            raise
    except InvalidFacts as error:
        sys.exit("\n".join(f"errata: fact {one.index}, {one.field}: {one.detail}" for one in error.problems))
    except ErrataError as error:
        from errata_client.tables import escaped  # what an error quotes may come from a stranger's file

        told = str(error).replace("\n", " ")
        sys.exit(f"errata: {escaped(told)}")
    except (CommandError, OSError) as error:
        sys.exit(f"errata: {error}")
