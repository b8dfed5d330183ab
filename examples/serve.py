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
from pathlib import Path

import click
from bundles import GROUPS, real_bundles
from telling import show, step

import metastore
from metastore import bundle

CATALOGUE = Path(__file__).parent / "catalogue"
PROGRAM = [sys.executable, "-m", "metastore"]


def new_database() -> str:
    """Start a PostgreSQL server that ends with this program, and return the URL of a database with the tables."""
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from tests.bundle.postgres_server import new_server

    url = new_server().dsn
    subprocess.run([*PROGRAM, "database", "migrate", "--url", url], check=True, stdout=subprocess.DEVNULL)
    step(f"A throw-away database keeps the datasets and bundles: psql {url}")
    return url


def fill(store: str, groups: Path) -> None:
    """Store what one can look at: two versions of a dataset, a deleted dataset, and bundles, one of them changed."""
    with metastore.connect(store, author="Ann Lee <ann@example.org>") as made:
        for file in sorted(CATALOGUE.glob("*/*/datapackage.json")):
            name = f"{file.parent.parent.name}/{file.parent.name}"
            made.dataset_create(name, file.read_bytes(), message="First import")
        made.tag_create("okfn/compression", "v1", description="As published")
        described = {"title": "Compressed tables", "licenses": [{"name": "CC0-1.0"}], "keywords": ["gzip", "bzip2"]}
        made.dataset_patch("okfn/compression", described, author="Bo Ek <bo@example.org>", message="Describe it")
        made.tag_create("okfn/compression", "v2", description="With a licence")
        made.dataset_delete("pandas/test-package", message="It is for tests alone")
    with bundle.connect(store, groups=groups) as registry:
        registry.bundle_import(real_bundles(), user="carol", comment="As known in public")
        without = {"remove_devices": ["E:TRTGTD"]}
        registry.bundle_update("NuMI_Physics_A9", without, user="ann", comment="Its readout is broken")


def token(store: str) -> str:
    granted = ["--user", "ann", "--name", "Ann Lee", "--scope", "ds:*:*", "--bundles", "NOvA:write", "--expires", "1d"]
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
            " --header 'Content-Type: application/merge-patch+json' --data '{\"title\": \"Compressed tables\"}'"
        ]
    )
    step("In the browser, paste the token itself under Sign in. Then try:")
    show(["compare the versions v1 and v2 of okfn/compression", "restore the deleted dataset pandas/test-package"])
    show(["find out who removed the device E:TRTGTD, and restore that bundle"])
    step("The same and more, in curl, Python and JavaScript:")
    show([f"bash {CATALOGUE.parent}/service.sh", f"python {CATALOGUE.parent}/service.py"])
    show([f"node {CATALOGUE.parent}/service.mjs"])


def run(root: Path, store: str) -> None:
    os.environ["METASTORE_KEY_FILE"] = str(root / "token.key")
    groups = root / "groups.conf"
    groups.write_text(GROUPS)
    os.environ["METASTORE_GROUPS_FILE"] = str(groups)
    fill(store, groups)
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
