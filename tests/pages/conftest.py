"""The pages in a real browser: a service on loopback, Debian's Chromium, and people who use it."""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from werkzeug.serving import make_server

import metastore
from metastore import MetaStore, bundle
from metastore.auth.key_sources import GivenKeys
from metastore.auth.keys import secret_key
from metastore.auth.tokens import Verifier, issue
from metastore.bundle import BundleRegistry
from metastore.config import ServiceSettings
from metastore.web import create_app

from ..conftest import CATALOGUE
from ..loopback import Quiet

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

SECRET = "the pages' tests sign with this alone, and no other service does"
GROUPS = "groups = NOvA MINOS\nNOvA = ann\nMINOS = bo\nroot = carol"
#: The address of the dataset that the fixture `cars` makes.
CARS = "/datasets/physics/cars"
BUNDLES = Path(__file__).parent.parent.parent / "examples" / "bundles.json"
#: The shell is the same browser without a desktop's parts: it takes a third of the time to open a window.
CHROMIUM = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "chromium-browser"))), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium")


def token(user: str, *scopes: str) -> str:
    """Return a token as an operator would issue it."""
    email = f"{user}@example.org"
    granted = list(scopes or ("ds:*:*", "bundles:*:write"))
    return issue(
        SECRET, user=user, scopes=granted, expires=timedelta(hours=1), now=time.time(), name=user.title(), email=email
    )


def whole(app: WSGIApplication) -> WSGIApplication:
    """Let each answer be read to its end: Werkzeug's server leaves files open if the browser hangs up before that."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        with closing(cast("Any", app(environ, start_response))) as parts:
            return [b"".join(parts)]

    return answer


class Site:
    """A service that runs, with what it serves."""

    def __init__(self, url: str, store: MetaStore, registry: BundleRegistry) -> None:
        self.url = url
        self.store = store
        self.registry = registry


@contextmanager
def serving(settings: ServiceSettings | None = None) -> Iterator[Site]:
    """Serve the real samples, as these settings say."""
    store = metastore.connect("memory:", author="Importer <importer@example.org>", validation="off")
    for path in sorted(CATALOGUE.glob("*/*/datapackage.json")):
        store.dataset_create(f"{path.parent.parent.name}/{path.parent.name}", path.read_bytes(), message="First import")
    registry = bundle.connect("memory:", groups=bundle.Groups.parse(GROUPS))
    for number, given in enumerate(json.loads(BUNDLES.read_text())["bundles"]):
        state = {"name": given["name"], "event": given["event"], "devices": given.get("devices", [])}
        registry.bundle_create(state | {"ifb_group": ("NOvA", "MINOS")[number % 2]}, user="carol", comment="Import")
    claims = settings.claims if settings else {}
    verifier = Verifier((GivenKeys(secret_key(SECRET)),), mapping=claims)
    app = create_app(store, verifier=verifier, bundles=registry, settings=settings)
    server = make_server("127.0.0.1", 0, whole(app), threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield Site(f"http://127.0.0.1:{server.server_port}", store, registry)
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as served:
        yield served


@pytest.fixture
def cars(site: Site) -> list[str]:
    """A dataset with three revisions; their ids, oldest first."""
    store = site.store
    resource = {"name": "speeds", "path": "speeds.csv", "format": "csv", "bytes": 1234567}
    first = {"title": "Cars", "description": "*Speeds* of cars", "resources": [resource]}
    ids = [store.dataset_create("physics/cars", first, author="Bo", message="First version").revision.id]
    changed = first | {"title": "Cars and their speeds", "licenses": [{"name": "CC0-1.0", "title": "CC Zero"}]}
    ids.append(store.dataset_update("physics/cars", changed, author="Cy", message="A better title").revision.id)
    store.tag_create("physics/cars", "v1", author="Cy", description="As published")
    renamed = changed | {"resources": [resource | {"name": "velocities"}]}
    ids.append(store.dataset_update("physics/cars", renamed, author="Bo", message="Rename").revision.id)
    return ids


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as play:
        # Nobody looks at the screen: what would emulate a graphics card for it stays off.
        options = ["--no-sandbox", "--disable-gpu", "--disable-software-rasterizer"]
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=options)
        yield chromium
        chromium.close()


#: Browsers draw a page before its scripts have run, and what they add moves the rest: nobody is to click meanwhile.
_HIDE_UNTIL_READY = """
const hidden = new CSSStyleSheet();
hidden.replaceSync("html { visibility: hidden }");
document.adoptedStyleSheets = [hidden];
document.addEventListener("DOMContentLoaded", () => { document.adoptedStyleSheets = []; });
"""


class Person:
    """Somebody in front of a browser of their own."""

    def __init__(self, context: BrowserContext, site: Site) -> None:
        self.site = site
        self.context = context
        self.page: Page = context.new_page()
        self.page.set_default_timeout(10_000)
        # The longest pages have 10,000 devices, each a link; drawing one takes a busy machine more than ten seconds.
        self.page.set_default_navigation_timeout(60_000)
        self.complaints: list[str] = []
        self.page.on(
            "console", lambda said: self.complaints.append(said.text) if "Content Security" in said.text else None
        )
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._see)

    def _see(self, request: object) -> None:
        url = str(getattr(request, "url", ""))
        if not url.startswith((self.site.url, "data:")):
            self.complaints.append(f"something was loaded from {url}")

    def goes_to(self, path: str) -> Page:
        self.page.goto(self.site.url + path)
        return self.page

    def is_signed_in(self, user: str, *scopes: str) -> None:
        """Sign in as the form does, without drawing it."""
        address = f"{self.site.url}/sign-in"
        form = re.search('name="csrf_token" value="([^"]+)"', self.context.request.get(address).text())
        assert form is not None
        answer = self.context.request.post(address, form={"csrf_token": form[1], "token": token(user, *scopes)})
        assert answer.url != address, "the service leads on from the form"

    def signs_in(self, user: str, *scopes: str) -> None:
        self.goes_to("/sign-in")
        self.page.get_by_label("Token").fill(token(user, *scopes))
        self.page.get_by_role("main").get_by_role("button", name="Sign in").click()
        self.page.get_by_text(f"Signed in as {user.title()}").wait_for()

    def violations(self) -> list[str]:
        """Return what keeps people from using the page, by axe's rules: in light all of them, in the dark contrast."""
        self.page.emulate_media(color_scheme="light", reduced_motion="reduce")
        self.page.evaluate(Axe().axe_script)
        options = "resultTypes: ['violations'], selectors: false"  # to find selectors takes a third of the time
        light = self.page.evaluate(f"axe.run({{{options}}})")["violations"]
        self.page.emulate_media(color_scheme="dark", reduced_motion="reduce")
        dark = self.page.evaluate(f"axe.run({{runOnly: ['color-contrast'], {options}}})")["violations"]
        return [f"{rule['id']}: {rule['nodes'][0]['html'][:200]}" for rule in light + dark]


@pytest.fixture
def person(browser: Browser, site: Site) -> Iterator[Person]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.add_init_script(_HIDE_UNTIL_READY)
    yield (somebody := Person(context, site))
    context.close()
    assert somebody.complaints == []


@pytest.fixture
def another(browser: Browser, site: Site) -> Iterator[Person]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.add_init_script(_HIDE_UNTIL_READY)
    yield (somebody := Person(context, site))
    context.close()
    assert somebody.complaints == []
