"""The program `metastore`.

It is outside of the package, so that it can answer Ctrl-C while Python imports the package. It imports nothing itself.
"""


def main() -> None:
    """Run the command line."""
    try:
        from metastore.cli import main as run
    except KeyboardInterrupt:  # `run` answers a later one
        import sys

        print("Interrupted.", file=sys.stderr)
        raise SystemExit(130) from None
    run()
