"""Serve real data packages: `make run`, or `python examples/serve.py --store DIR`.

Prints the address, a token, and what to try. Serves until Ctrl-C; without a terminal it shows that it answers, and
ends.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import click
import sample
from telling import show, step

import metastore
from metastore import bundle

EXAMPLES = Path(__file__).parent
PROGRAM = [sys.executable, "-m", "metastore"]


def new_database() -> str:
    """Start a PostgreSQL server that ends with this program, and return the URL of a database with the tables."""
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from tests.bundle.postgres_server import new_server

    url = new_server().dsn
    subprocess.run([*PROGRAM, "database", "migrate", "--url", url], check=True, stdout=subprocess.DEVNULL)
    step(f"A throw-away database keeps the datasets and bundles: psql {url}")
    return url


def fill(store: str, groups: Path, files: Path) -> None:
    clock = sample.Clock(datetime.now(UTC))
    with (
        metastore.connect(store, author=sample.ANN) as datasets,
        bundle.connect(store, groups=groups, clock=clock) as registry,
    ):
        sample.fill(datasets, registry, clock, files)


def token(store: str) -> str:
    granted = ["--user", "ann", "--name", "Ann Lee", "--scope", "ds:*:*", "--bundles", "*:write", "--expires", "1d"]
    done = subprocess.run(
        [*PROGRAM, "token", *granted, "--store", store], check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout.strip()


def explain(address: str, made: str) -> None:
    step(f"The service is at {address}: open it in a browser. In curl:")
    show([f"curl {address}/api/v1/datasets", f"curl {address}/api/v1/datasets/okfn/compression"])
    step("Writing needs a token. This one lets ann do everything for a day:")
    show([f"export METASTORE_SERVICE={address}", f"export METASTORE_TOKEN={made}"])
    show(
        [
            "curl --request PATCH $METASTORE_SERVICE/api/v1/datasets/okfn/compression"
            ' --header "Authorization: Bearer $METASTORE_TOKEN"'
            " --header 'Content-Type: application/merge-patch+json' --data '{\"title\": \"Tables, compressed\"}'"
        ]
    )
    step("In the browser, paste the token itself under Sign in. Then try:")
    show(["compare v3.2.2 and v3.3.0 of vega/datasets, and cite one of them"])
    show(["look into the file of ifbeam/devices, and into the one that v1.0.0 had"])
    show(["edit okfn/compression, run the PATCH above before you save, and keep both changes"])
    show(["undo only the change that miscounts, in its description", "restore the deleted dataset pandas/test-package"])
    show(["find out who removed the device E:TRTGTD, and restore that bundle as it was a week ago"])
    show(["replace the device E:TOR860 in both bundles that have it", f"read everything in German: {address}/?lang=de"])
    step("The same and more, in curl, Python and JavaScript:")
    show([f"bash {EXAMPLES}/service.sh", f"python {EXAMPLES}/service.py"])
    show([f"node {EXAMPLES}/service.mjs"])


def run(root: Path, store: str) -> None:
    os.environ["METASTORE_KEY_FILE"] = str(root / "token.key")
    groups = root / "groups.conf"
    groups.write_text(sample.GROUPS)
    os.environ["METASTORE_GROUPS_FILE"] = str(groups)
    os.environ["METASTORE_LFS_FOLDER"] = str(root / "files" / "{owner}" / "{name}")
    fill(store, groups, root / "files")
    with (root / "access.log").open("wb") as log:
        server = subprocess.Popen(
            [*PROGRAM, "serve", "--port", "0", "--store", store],
            **{"cwd": root, "stdout": log, "stderr": subprocess.PIPE, "text": True},
        )
        try:
            assert server.stderr is not None
            found = next(filter(None, (re.search(r"http://\S+", line) for line in server.stderr)), None)
            if found is None:
                raise SystemExit("the service did not start")
            explain(found[0], token(store))
            wait(server, found[0], root)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()


def wait(server: subprocess.Popen[str], address: str, root: Path) -> None:
    with urllib.request.urlopen(f"{address}/api/v1/datasets") as answer:
        step(f"It answers with {len(json.load(answer))} datasets. Its access log is {root / 'access.log'}.")
    if sys.stdin.isatty() and sys.stdout.isatty():
        click.secho("\nCtrl-C ends it.", bold=True)
        server.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", metavar="DIR", type=Path, help="a new folder for the store and the log")
    parser.add_argument("--postgres", action="store_true", help="keep the datasets in a throw-away PostgreSQL server")
    options = parser.parse_args()
    folder: Path = options.store or Path(tempfile.mkdtemp(prefix="metastore-service-"))
    if folder.exists() and any(folder.iterdir()):
        parser.error(f"{folder} is not empty: name a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    logging.getLogger("metastore").setLevel(logging.ERROR)
    os.environ.pop("METASTORE_STORE", None)
    try:
        run(folder.absolute(), new_database() if options.postgres else str(folder.absolute() / "store"))
    except KeyboardInterrupt:
        click.echo("Ended.")
