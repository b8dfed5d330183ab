"""Take the pictures of the pages that the README and the documentation show: `make screenshots`.

They show the real samples, as the program is now: a service on loopback in Debian's Chromium.
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Page, sync_playwright
from werkzeug.serving import make_server

import metastore
from metastore import bundle
from metastore.auth.key_sources import GivenKeys
from metastore.auth.keys import secret_key
from metastore.auth.tokens import Verifier, issue
from metastore.config import ServiceSettings
from metastore.web import create_app

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "examples"))
import sample  # noqa: E402

IMAGES = ROOT / "docs" / "img"
#: The pages show times of more than a month ago as dates, so that the pictures look the same each time.
NOW = datetime(2026, 9, 10, 16, 45, tzinfo=UTC)
SECRET = "pictures are taken of a service that nobody else can reach"


#: The pictures and the pages that they show, each in light and in dark.
PICTURES = {
    "page-home": "/",
    "page-catalogue": "/datasets",
    "page-dataset": "/datasets/vega/datasets",
    "page-file": "/datasets/ifbeam/devices?resource=0",
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
    """Make a store in a folder and a registry in memory, with the samples."""
    store = metastore.connect(f"{folder}/store", author=sample.ANN, validation="off", sync=False)
    clock = sample.Clock(NOW)
    registry = bundle.connect("memory:", groups=bundle.Groups.parse(sample.GROUPS), clock=clock)
    sample.fill(store, registry, clock, Path(folder) / "files")
    return store, registry


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
        look(*fill(folder), ServiceSettings(lfs_folder=f"{folder}/files/{{owner}}/{{name}}"))


def look(store: metastore.Store, registry: bundle.BundleRegistry, settings: ServiceSettings) -> None:
    """Serve a store and a registry, and take the pictures."""
    app = create_app(store, verifier=Verifier((GivenKeys(secret_key(SECRET)),)), bundles=registry, settings=settings)
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
