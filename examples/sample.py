"""What `make run` serves, and what the pictures in the documentation show: datasets and bundles that people have used.

The descriptors and the bundles are real; people, dates and reasons are invented.
"""

from __future__ import annotations

import csv
import hashlib
import io
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from bundles import real_bundles

import metastore
from metastore import bundle

CATALOGUE = Path(__file__).parent / "catalogue"
GROUPS = "groups = NOvA BNB DUNE\nNOvA = ann\nBNB = bo ann\nroot = carol\n"
ANN, BO = "Ann Lee <ann@example.org>", "Bo Ek <bo@example.org>"

_REPLACED = {"remove_devices": ["E:TR101D"], "add_devices": ["E:TR102D"]}


class Clock:
    """The clock of a registry of samples, on which people make their changes on several days.

    Attributes:
        now: The time of the newest change of a dataset.
    """

    def __init__(self, now: datetime) -> None:
        self.now = self._shown = now

    def __call__(self) -> datetime:
        return self._shown

    def is_days_ago(self, days: int) -> None:
        """Show the time so many days ago."""
        self._shown = self.now - timedelta(days=days)


def fill(store: metastore.Store, registry: bundle.BundleRegistry, clock: Clock, files: Path) -> None:
    """Give an empty store and an empty registry their contents.

    Args:
        store: Whose author is Ann.
        registry: Whose groups are `GROUPS`, and whose clock is the next argument.
        clock: Tells the registry when its changes are made. A database also notes its own time, and pages show both.
        files: Where files are kept: `OWNER/NAME/SHA-256`.
    """
    now = clock.now
    for number, path in enumerate(sorted(CATALOGUE.glob("*/*/datapackage.json"))):
        owner, name = path.parts[-3:-1]
        first = {"at": now - timedelta(days=240 - 30 * number), "message": "First import"}
        store.dataset_create(f"{owner}/{'vega-datasets' if owner == 'vega' else name}", path.read_bytes(), **first)
    _publish_vega(store, now)
    _describe_compression(store, now)
    store.dataset_delete("pandas/test-package", at=now - timedelta(days=30), message="It is for tests alone")
    _list_devices(store, files, now)
    _change_bundles(registry, clock)


def _change_bundles(registry: bundle.BundleRegistry, clock: Clock) -> None:
    """Import the bundles, and let three people change them over the weeks that follow."""
    clock.is_days_ago(40)
    registry.bundle_import(real_bundles(), user="carol", comment="As known in public")
    for days, name, change, user, reason in (
        (33, "BoosterNeutrinoBeam_read", {"remove_devices": ["E:LM875C"]}, "bo", "It reads nothing"),
        (26, "BNB_BPM_settings", {"event": "p,600000"}, "bo", "Log the settings every ten minutes"),
        (19, "BoosterNeutrinoBeam_read", {"add_devices": ["E:LM875C"]}, "bo", "Its cable was loose"),
        (6, "NuMI_Physics_A9", {"remove_devices": ["E:TRTGTD"]}, "ann", "Its readout is broken"),
        (2, "NuMI_Physics_A9", _REPLACED, "ann", "TR101D was replaced in the access"),
    ):
        clock.is_days_ago(days)
        registry.bundle_update(name, change, user=user, comment=reason)
    clock.is_days_ago(0)


def _publish_vega(store: metastore.Store, now: datetime) -> None:
    """Give the largest dataset a move and three versions by two people."""
    days = timedelta(days=1)
    store.tag_create("vega/vega-datasets", "v3.2.1", description="As published", at=now - 149 * days)
    store.dataset_move("vega/vega-datasets", "vega/datasets", at=now - 90 * days, message="One name everywhere")
    patch = {"title": "Vega's example datasets", "contributors": [{"title": "Vega", "roles": ["publisher"]}]}
    store.dataset_patch("vega/datasets", patch, author=BO, at=now - 75 * days, message="Say whose they are")
    store.tag_create("vega/datasets", "v3.2.2", at=now - 75 * days, description="With its publisher")
    resources = store.dataset_read("vega/datasets").descriptor["resources"]
    fields = next(each for each in resources if each["name"] == "airports")["schema"]["fields"]
    fields[0] |= {"description": "IATA code", "constraints": {"required": True}}
    fields[-1] |= {"unit": "degrees"}
    fields.append({"name": "elevation", "type": "number", "unit": "m", "description": "Above sea level"})
    change = {"resources": resources}
    store.dataset_patch("vega/datasets", change, at=now - 3 * days, message="Describe the airports' columns")
    store.tag_create("vega/datasets", "v3.3.0", at=now - 2 * days, description="With elevations")


def _describe_compression(store: metastore.Store, now: datetime) -> None:
    """Give a dataset two versions, and a mistake that a later change covers."""
    name, hours = "okfn/compression", timedelta(hours=1)
    store.tag_create(name, "v1", description="As published", at=now - 1400 * hours)
    described = {"title": "Compressed tables", "licenses": [{"name": "CC0-1.0"}], "keywords": ["gzip", "bzip2"]}
    store.dataset_patch(name, described, author=BO, at=now - 1300 * hours, message="Describe it")
    store.tag_create(name, "v2", description="With a licence", at=now - 1300 * hours)
    mistyped = {"description": "The same table, compressed in five ways."}
    store.dataset_patch(name, mistyped, author=ANN, at=now - 26 * hours, message="Describe the files")
    licence = {"licenses": [{"name": "CC-BY-4.0", "path": "https://creativecommons.org/licenses/by/4.0/"}]}
    store.dataset_patch(name, licence, author=BO, at=now - 2 * hours, message="The publisher wants to be named")


def _list_devices(store: metastore.Store, files: Path, now: datetime) -> None:
    """Make a dataset whose file can be shown: the devices of the bundles, before and after one was removed."""
    rows = [(each["name"], each["event"], device) for each in real_bundles() for device in each["devices"]]
    broken = ("NuMI_Physics_A9", "e,a9", "E:TRTGTD")
    first, second = ([row for row in rows if row != broken or whole] for whole in (True, False))
    made = {
        "title": "Devices of the beam data bundles",
        "description": "Which device is in which bundle. **A lower bound**: what public clients read.",
        "keywords": ["beam", "devices"],
        "licenses": [{"name": "CC-BY-NC-4.0", "path": "https://creativecommons.org/licenses/by-nc/4.0/"}],
        "resources": [_keep(files / "ifbeam/devices", first)],
    }
    store.dataset_create("ifbeam/devices", made, at=now - timedelta(days=40), message="As known in public")
    store.tag_create("ifbeam/devices", "v1.0.0", at=now - timedelta(days=40))
    change = {"resources": [_keep(files / "ifbeam/devices", second)]}
    store.dataset_patch("ifbeam/devices", change, at=now - timedelta(days=6), message="Without the broken E:TRTGTD")
    store.tag_create("ifbeam/devices", "v1.0.1", at=now - timedelta(days=6))


def _keep(folder: Path, rows: list[tuple[str, str, str]]) -> dict[str, Any]:
    """Write a table into a folder, as a Git LFS server keeps it, and return its resource."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("bundle", "event", "device"), *rows])
    content = text.getvalue().encode()
    digest = hashlib.sha256(content).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / digest).write_bytes(content)
    fields = [{"name": name, "type": "string"} for name in ("bundle", "event", "device")]
    return {
        "name": "devices",
        "path": "devices.csv",
        "bytes": len(content),
        "hash": f"sha256:{digest}",
        "schema": {"fields": fields},
    }
