"""The command line: `metastore NOUN VERB`. Data goes to stdout, messages to stderr. Each command takes `--json`."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    try:
        import click  # noqa: F401
    except ModuleNotFoundError:
        extra = "pip install 'metastore-records[cli]', or '.[cli]' from a checkout"
        raise SystemExit(f"the command line needs click, which is not installed: {extra}") from None
    from metastore.cli.app import run

    run()
