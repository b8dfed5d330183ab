"""The command line: `metastore NOUN VERB`. Data goes to stdout, messages to stderr. Each command takes `--json`."""

from __future__ import annotations

import gc
import os
import signal
import sys

#: After this many new objects the collector looks for cycles: a command makes some 40,000 while it imports.
_SELDOM = 50_000


def main() -> None:
    """Run the command line."""
    signal.signal(signal.SIGTERM, _terminate)
    gc.set_threshold(_SELDOM)
    try:
        _expect_click()
        from metastore.cli.app import run

        run()
    except _Terminated:  # temporary files are gone now; end as others do
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    except KeyboardInterrupt:  # while modules are imported; `run` turns a later one into the same
        print("Interrupted.", file=sys.stderr)
        raise SystemExit(130) from None
    finally:
        gc.freeze()  # Python would look for cycles several times while it ends, which takes a sixth of a short command


def _expect_click() -> None:
    try:
        import click  # noqa: F401
    except ModuleNotFoundError:
        extra = "pip install 'metastore-records[cli]', or '.[cli]' from a checkout"
        raise SystemExit(f"the command line needs click, which is not installed: {extra}") from None


class _Terminated(BaseException):
    """SIGTERM, as from a service manager or `timeout`."""


def _terminate(number: int, frame: object) -> None:
    raise _Terminated
