"""Bundles of a laboratory: `make run`, or `python examples/bundles.py --store DIR`.

The names, events and devices in `bundles.json` are real. Owners, admins, hosts and reasons are invented.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from pathlib import Path
from typing import Any

import click
from telling import Told, command, show, step

import metastore
from metastore import bundle

REAL = Path(__file__).parent / "bundles.json"
OWNERS = {
    "NuMI_Physics_A9": "NOvA",
    "BoosterNeutrinoBeam_read": "BNB",
    "BNBBPMTOR": "BNB",
    "BNB_BPM_settings": "BNB",
    "DUNE_CERN_SEP2018_TIMBER": "DUNE",
}
GROUPS = """
groups = NOvA, BNB DUNE
NOvA = ann
BNB  = bo
root = carol
"""


def real_bundles() -> list[dict[str, Any]]:
    """Return what is known of real bundles, with an invented owner each."""
    known = json.loads(REAL.read_text())["bundles"]
    return [
        {**{key: each[key] for key in ("name", "event", "devices")}, "ifb_group": OWNERS[each["name"]]}
        for each in known
    ]


def tour(root: Path) -> None:
    step("A registry of bundles. The groups file says who may change what (its groups and people are invented).")
    root.mkdir(parents=True, exist_ok=True)
    (root / "groups.conf").write_text(GROUPS)
    show(GROUPS.split("\n")[1:-1])
    plain = bundle.connect(root / "store", groups=root / "groups.conf")
    registry = Told("registry", plain)

    bundles = real_bundles()
    step(f"{len(bundles)} real bundles go in, in one transaction. Carol may: she is a superuser.")
    click.secho("  >>> registry.bundle_import(bundles, user='carol', comment='As known in public')", fg="blue")
    show(plain.bundle_import(bundles, user="carol", comment="As known in public"))
    show(plain.bundle_list())

    name = "NuMI_Physics_A9"
    step("Ann is an admin of NOvA. She takes a toroid out, and says why.")
    seen = plain.bundle_read(name)
    without = {"remove_devices": ["E:TRTGTD"]}
    made = registry.bundle_update(name, without, user="ann", comment="Its readout is broken", expected=seen.snapshot)
    show([f"{made}, snapshot {made.snapshot}"])

    step("Bo is not. He is told why he may not; and no admin makes a bundle collectable.")
    for change, user in (({"add_devices": ["E:TOR860"]}, "bo"), ({"writable": True}, "ann")):
        try:
            registry.bundle_update(name, change, user=user)
        except metastore.PermissionDenied as error:
            show([f"{type(error).__name__}: {error}"], fg="red")

    step("Carol may. Now a collector can run on a host (which is invented, too).")
    show([registry.bundle_update(name, {"writable": True, "run": True, "hosts": ["daq.example.org"]}, user="carol")])

    step("What happened to this bundle?")
    for entry in registry.bundle_log(name):
        show(
            [f"{entry.created:%H:%M:%S} {entry.user}: {entry.action}, {entry.changed} ({entry.comment or 'no reason'})"]
        )

    step("When was this device removed, by whom, and why?")
    removed = next(entry for entry in registry.bundle_log(device="E:TRTGTD") if entry.removed)
    show([f"snapshot {removed.id} of {removed.name}, by {removed.user}: {removed.comment}"], fg="yellow")

    step("What has changed since the beginning, in full?")
    found = registry.bundle_diff(seen.snapshot, plain.bundle_read(name).snapshot)
    show((f"- {device}" for device in found.removed), fg="red")
    show((f"~ {key}: {old!r} → {new!r}" for key, (old, new) in found.attributes.items()), fg="yellow")

    step("It is put back as it was. Restoring is a new snapshot; nothing is rewritten.")
    back = registry.bundle_restore(name, seen.snapshot, user="carol", comment="The readout is repaired")
    show([f"{back}, snapshot {back.snapshot}; equal to what it was: {back == seen}"])

    step("Does the record hold? Keep the heads elsewhere, and nobody can rewrite it unseen.")
    show(registry.bundle_verify())
    plain.close()

    step(f"The registry is in {root}. Try next:")
    where = f"--bundles {root / 'store'}"
    show(f"{command()} bundle {words} {where}" for words in ("list", f"log {name}", f"read {name} --snapshot 1"))
    show([f"git -C {root / 'store/_metastore/bundles.git'} log -p"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", metavar="DIR", type=Path, help="a new folder for the registry")
    folder: Path = parser.parse_args().store or Path(tempfile.mkdtemp(prefix="metastore-bundles-"))
    if folder.exists() and any(folder.iterdir()):
        parser.error(f"{folder} is not empty: name a new folder")
    logging.getLogger("metastore").setLevel(logging.ERROR)
    tour(folder.absolute())
