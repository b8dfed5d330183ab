"""The top of the command line."""

from __future__ import annotations

import sys

import click

import metastore
from metastore.cli import bundle, dataset, files, revision, upkeep
from metastore.cli.base import COMMON, App, set_up_logging, show_error
from metastore.errors import MetastoreError

_EPILOG = """\b
Exit codes: 0 done, 1 a check found something, 2 wrong request, 3 not found,
4 conflict or taken, 5 the storage failed, 6 not allowed, 130 interrupted.
Example: metastore dataset create physics/cars cars.json -m 'First version'"""


@click.group(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(metastore.__version__, prog_name="metastore", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Keep Data Package descriptors so that no change is without a trace and each can be put back."""
    context.ensure_object(App)


for option in COMMON:
    cli = option(cli)
for module in (dataset, revision, files, upkeep, bundle):
    for each in module.COMMANDS:
        cli.add_command(each)


def run() -> None:
    """Run the command line, and end the process with its exit code."""
    set_up_logging()
    try:
        sys.exit(cli(standalone_mode=False, obj=App()) or 0)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.Abort:
        click.echo("Interrupted.", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except MetastoreError as error:
        sys.exit(show_error(error, as_json="--json" in sys.argv))
    except BrokenPipeError:  # the reader, such as `head`, had enough
        sys.stderr.close()
        sys.exit(141)
