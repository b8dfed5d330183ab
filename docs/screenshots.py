"""Take the pictures of the pages that the README and the documentation show: `make screenshots`.

They show the real samples, as the program is now: a service on loopback in Debian's Chromium.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from playwright.sync_api import Page, sync_playwright
from werkzeug.serving import make_server

import metastore
from metastore import bundle
from metastore.auth.key_sources import GivenKeys
from metastore.auth.keys import secret_key
from metastore.auth.tokens import Verifier, issue
from metastore.web import create_app

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "img"
GROUPS = "groups = NOvA MINOS\nNOvA = ann\nMINOS = bo\nroot = carol"
SECRET = "pictures are taken of a service that nobody else can reach"


#: The pictures and the pages that they show, each in light and in dark.
PICTURES = {
    "page-home": "/",
    "page-catalogue": "/datasets",
    "page-dataset": "/datasets/vega/datasets",
    "page-history": "/datasets/vega/datasets/history",
    "page-compare": "/datasets/vega/datasets/compare?from=v3.2.1&to=v3.3.0",
    "page-bundles": "/bundles",
    "page-record": "/bundles/NuMI_Physics_A9/log",
    "page-device": "/device?name=E:TR101D",
}
#: Those that show what somebody may change.
SIGNED_IN = {
    "page-tags": "/datasets/vega/datasets/tags",
    "page-form": "/datasets/vega/datasets/edit?as=form&open=1",
}


def fill(folder: str) -> tuple[metastore.Store, bundle.BundleRegistry]:
    """Make a store in a folder and a registry in memory, with a short history each."""
    store = metastore.connect(folder, author="Ann Lee <ann@example.org>", validation="off", sync=False)
    for number, path in enumerate(sorted((ROOT / "examples" / "catalogue").glob("*/*/datapackage.json"))):
        at = {"at": f"2026-0{number + 3}-11T09:20:00Z", "message": "First import"}
        name = "vega/vega-datasets" if path.parent.parent.name == "vega" else "/".join(path.parts[-3:-1])
        store.dataset_create(name, path.read_bytes(), **at)
    publish(store, json.loads((ROOT / "examples/catalogue/vega/datasets/datapackage.json").read_text()))
    registry = bundle.connect("memory:", groups=bundle.Groups.parse(GROUPS))
    for number, given in enumerate(json.loads((ROOT / "examples" / "bundles.json").read_text())["bundles"]):
        state = {"name": given["name"], "event": given["event"], "devices": given.get("devices", [])}
        group = ("NOvA", "MINOS")[number % 2]
        registry.bundle_create(state | {"ifb_group": group, "hosts": ["acq01"]}, user="carol", comment="First import")
    changes = {"remove_devices": ["E:TR101D"], "add_devices": ["E:TR102D"]}
    registry.bundle_update("NuMI_Physics_A9", changes, user="ann", comment="TR101D was replaced in the access")
    return store, registry


def publish(store: metastore.Store, descriptor: dict[str, Any]) -> None:
    """Give the largest sample the history of a dataset in use: two people, a move, three versions."""
    bo = "Bo Ek <bo@example.org>"
    store.tag_create("vega/vega-datasets", "v3.2.1", description="As published", at="2026-06-11T09:25:00Z")
    store.dataset_move("vega/vega-datasets", "vega/datasets", at="2026-07-02T14:00:00Z", message="One name everywhere")
    patch = {"title": "Vega's example datasets", "contributors": [{"title": "Vega", "roles": ["publisher"]}]}
    store.dataset_patch("vega/datasets", patch, author=bo, at="2026-07-20T08:10:00Z", message="Say whose they are")
    store.tag_create("vega/datasets", "v3.2.2", at="2026-07-20T08:30:00Z", description="With its publisher")
    airports = next(each for each in descriptor["resources"] if each["name"] == "airports")
    fields = airports["schema"]["fields"]
    fields[0] |= {"description": "IATA code", "constraints": {"required": True}}
    fields[-1] |= {"unit": "degrees"}
    fields.append({"name": "elevation", "type": "number", "unit": "m", "description": "Above sea level"})
    change = {"resources": descriptor["resources"]}
    store.dataset_patch("vega/datasets", change, at="2026-09-09T16:45:00Z", message="Describe the airports' columns")
    store.tag_create("vega/datasets", "v3.3.0", at="2026-09-10T07:00:00Z", description="With elevations")
    store.dataset_patch("okfn/compression", {"title": "Compressed tables"}, at="2026-10-05T12:00:00Z", author=bo)


def take(page: Page, url: str, name: str) -> None:
    """Take one picture; of a form, of the resource that is open in it."""
    page.goto(url)
    if (opened := page.locator(".opened")).count():
        opened.evaluate("part => part.scrollIntoView()")
    page.screenshot(path=IMAGES / f"{name}.png")


def sign_in(page: Page, root: str) -> None:
    """Sign in as somebody who may change datasets."""
    soon = timedelta(hours=1)
    token = issue(SECRET, user="ann", scopes=["ds:*:*"], expires=soon, now=time.time(), name="Ann Lee")
    page.goto(f"{root}/sign-in")
    page.get_by_label("Token").fill(token)
    page.locator("main button[type=submit]").click()


def main() -> None:
    """Serve, look, and write the pictures."""
    with TemporaryDirectory() as folder:
        look(*fill(folder))


def look(store: metastore.Store, registry: bundle.BundleRegistry) -> None:
    """Serve a store and a registry, and take the pictures."""
    app = create_app(store, verifier=Verifier((GivenKeys(secret_key(SECRET)),)), bundles=registry)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    root = f"http://127.0.0.1:{server.server_port}"
    chromium = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for ending, scheme in (("", "light"), ("-dark", "dark")):
            page = browser.new_page(viewport={"width": 1180, "height": 720}, color_scheme=scheme)
            for name, path in PICTURES.items():
                take(page, root + path, name + ending)
            sign_in(page, root)
            for name, path in SIGNED_IN.items():
                take(page, root + path, name + ending)
        browser.close()
    server.shutdown()


if __name__ == "__main__":
    main()
