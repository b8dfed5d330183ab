"""Take the pictures of the pages that the README and the documentation show: `make screenshots`.

They show the real samples, as the program is now: a service on loopback in Debian's Chromium.
"""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Page, sync_playwright
from werkzeug.serving import make_server

import metastore
from metastore import bundle
from metastore.auth.key_sources import GivenKeys
from metastore.auth.keys import secret_key
from metastore.auth.tokens import Verifier
from metastore.web import create_app

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "img"
GROUPS = "groups = NOvA MINOS\nNOvA = ann\nMINOS = bo\nroot = carol"
SECRET = "pictures are taken of a service that nobody else can reach"


def fill(folder: str) -> tuple[metastore.Store, bundle.BundleRegistry]:
    """Make a store in a folder and a registry in memory, with a short history each."""
    store = metastore.connect(folder, author="Ann Lee <ann@example.org>", validation="off", sync=False)
    for path in sorted((ROOT / "examples" / "catalogue").glob("*/*/datapackage.json")):
        store.dataset_create(f"{path.parent.parent.name}/{path.parent.name}", path.read_bytes(), message="First import")
    store.tag_create("vega/datasets", "v3.2.1", description="As published")
    patch = {"title": "Vega's example datasets", "contributors": [{"title": "Vega", "roles": ["publisher"]}]}
    store.dataset_patch("vega/datasets", patch, author="Bo Ek <bo@example.org>", message="Say whose they are")
    registry = bundle.connect("memory:", groups=bundle.Groups.parse(GROUPS))
    for number, given in enumerate(json.loads((ROOT / "examples" / "bundles.json").read_text())["bundles"]):
        state = {"name": given["name"], "event": given["event"], "devices": given.get("devices", [])}
        group = ("NOvA", "MINOS")[number % 2]
        registry.bundle_create(state | {"ifb_group": group, "hosts": ["acq01"]}, user="carol", comment="First import")
    changes = {"remove_devices": ["E:TR101D"], "add_devices": ["E:TR102D"]}
    registry.bundle_update("NuMI_Physics_A9", changes, user="ann", comment="TR101D was replaced in the access")
    return store, registry


def take(page: Page, url: str, name: str) -> None:
    """Take one picture."""
    page.goto(url)
    page.screenshot(path=IMAGES / f"{name}.png")


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
        page = browser.new_page(viewport={"width": 1180, "height": 720})
        take(page, f"{root}/datasets", "page-catalogue")
        take(page, f"{root}/datasets/vega/datasets", "page-dataset")
        take(page, f"{root}/datasets/vega/datasets/compare?from=v3.2.1", "page-compare")
        take(page, f"{root}/bundles", "page-bundles")
        take(page, f"{root}/bundles/NuMI_Physics_A9/log", "page-record")
        browser.close()
    server.shutdown()


if __name__ == "__main__":
    main()
