"""Every link and form of the pages leads somewhere, and lists are paged through to their ends and back."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import pytest
from flask.testing import FlaskClient

import metastore
from metastore import bundle
from metastore.auth.key_sources import GivenKeys
from metastore.auth.keys import secret_key
from metastore.auth.tokens import Verifier
from metastore.web import create_app

from .conftest import GROUPS, SECRET
from .test_hostile import sign_in

DATASETS = 52  # one page of the catalogue has 20
GONE = {"/datasets/chemistry/gone", "/bundles/NuMI_3"}  # without a revision, which stays
_LINK = re.compile(r'<a\b(?![^>]*\bhreflang=)[^>]*?\bhref="([^"]*)"')  # but for the other languages
_FORM = re.compile(r'<form\b(?![^>]*method="post")([^>]*)>(.*?)</form>', re.DOTALL)
_ACTION = re.compile(r'action="([^"]*)"')
_FIELD = re.compile(r'<input\b[^>]*?\bname="([^"]*)"[^>]*?\bvalue="([^"]*)"')
#: Pages that are no page of ours, or say the same for any parameter.
_ELSEWHERE = ("/api/", "/docs", "/static/", "/schemas/")


@pytest.fixture
def client() -> FlaskClient:
    store = metastore.connect("memory:", author="Setup", validation="off")
    for number in range(DATASETS):
        store.dataset_create(f"physics/d{number:03}", {"title": f"Number {number}"})
    store.dataset_create("chemistry/acids", {"title": "Acids", "resources": [{"name": "ph", "path": "ph.csv"}]})
    store.dataset_patch("chemistry/acids", {"title": "Acids & bases"}, message="<b>Bases</b> & “more” ?&#%")
    store.tag_create("chemistry/acids", "v1.0+x")
    store.dataset_create("chemistry/gone", {"title": "Gone"})
    store.dataset_delete("chemistry/gone")
    store.dataset_create("chemistry/old", {"title": "Old"})
    store.dataset_move("chemistry/old", "chemistry/new")
    registry = bundle.connect("memory:", groups=bundle.Groups.parse(GROUPS))
    for number in range(4):
        devices = [f"E:TR{number:03}D", "E:TOR860"]
        named = {"name": f"NuMI_{number}", "event": "e,a9", "ifb_group": "NOvA", "devices": devices}
        registry.bundle_create(named, user="ann", comment="Import")
    for number in range(60):  # a page of the record has 50
        registry.bundle_update("NuMI_0", {"event": f"e,{number:02x}"}, user="ann", comment=f"Turn {number}")
    registry.bundle_delete("NuMI_3", user="ann", comment="No longer read")
    return create_app(store, verifier=Verifier((GivenKeys(secret_key(SECRET)),)), bundles=registry).test_client()


def targets(page: str, url: str) -> set[str]:
    """Return where the links of a page lead, and its forms as they are filled in."""
    links = {unescape(href) for href in _LINK.findall(page)}
    for attributes, form in _FORM.findall(page):
        action = "".join(_ACTION.findall(attributes))
        fields = {unescape(name): unescape(value) for name, value in _FIELD.findall(form)}
        links.add(f"{unescape(action).split('?')[0] or urlsplit(url).path}?{urlencode(fields)}")
    full = (urlsplit(urljoin(f"http://localhost{url}", link)) for link in links)
    return {
        each._replace(scheme="", netloc="", fragment="").geturl()
        for each in full
        if each.netloc == "localhost" and not each.path.startswith(_ELSEWHERE)
    }


def kind(url: str) -> str:
    """Return what addresses of like pages have in common: a dataset among many, or the filters and order of a list."""
    path, _, query = re.sub(r"(?<=[?&])lang=de(&|$)", "", url).partition("?")
    if path in ("/datasets", "/search", "/bundles"):
        values = dict(parse_qsl(query, keep_blank_values=True))
        return f"{path}?{sorted(values) if len(values) < 3 else 'more'} {values.get('order')}"
    numbers = r"[0-9a-f]{40}|before=\d+|snapshots/\d+|\bto=\d+|\bat=[\d-]+&name=\w+"
    return re.sub(rf"physics(/|%2F)d0(?!00)\d\d|{numbers}", "…", f"{path}?{query}")


def crawl(
    client: FlaskClient, first: str = "/", see: Callable[[str, str], None] = lambda url, page: None
) -> dict[str, int]:
    """Follow all links and forms from the first page, and let `see` look at each; return the status of each address."""
    statuses: dict[str, int] = {}
    kinds, queue = set[str](), deque([first])
    while queue:
        url = queue.popleft()
        if kind(url) in kinds:
            continue
        kinds.add(kind(url))
        answer = client.get(url, buffered=True)  # a download that nobody reads keeps its place
        statuses[url] = answer.status_code
        if location := answer.headers.get("Location"):
            queue.extend(targets(f'<a href="{location}">', url))
        elif "html" in (answer.content_type or ""):
            see(url, answer.text)
            queue.extend(sorted(targets(answer.text, url)))
    return statuses


@pytest.mark.parametrize("signed_in", [False, True])
def test_each_link_and_form_leads_to_a_page(client: FlaskClient, signed_in: bool) -> None:
    if signed_in:
        sign_in(client)
    statuses = crawl(client)
    assert {url for url, status in statuses.items() if status >= 400 and url not in GONE} == set()
    assert {statuses.get(url) for url in GONE} == {410}
    assert len(statuses) > 50


def steps(client: FlaskClient, path: str, way: str, row: str) -> list[tuple[str, list[str]]]:
    """Return each page by the links of one way, its address and what stands on it."""
    seen, following = [], path
    while following:
        page = client.get(url := following).text.split("<main", 1)[1]
        seen.append((url, re.findall(row, page)))
        link = re.search(rf'rel="{way}" href="([^"]*)"', page)
        following = urljoin(url, unescape(link[1])) if link else ""
    return seen


def test_all_datasets_bundles_and_lines_of_the_record_are_reached_forward_and_back() -> None:
    store = metastore.connect("memory:", author="Ann", validation="off")
    for number in range(304):
        store.dataset_create(f"many/d{number:03}", {"title": f"D{number:03}"}, at=datetime(2026, 1, 1, tzinfo=UTC))
    times = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number // 3) for number in range(600)]
    registry = bundle.connect("memory:", groups=bundle.Groups.parse(GROUPS), clock=lambda: times.pop(0))
    made = [{"name": f"B{number:03}", "event": f"e,{number:02x}", "ifb_group": "NOvA"} for number in range(200)]
    registry.bundle_import(made, user="ann", comment="Import")
    for number in range(300):
        registry.bundle_update("B000", {"event": f"p,{number}"}, user="ann", comment="Turn")
    client = create_app(store, bundles=registry).test_client()
    name, line = r'<th scope="row"><a href="([^"]*)"', r'<td><a href="/snapshots/(\d+)"'
    for path, row, pages, total in (
        ("/datasets", r'<h3><a href="([^"]*)"', 16, 304),
        ("/bundles", name, 4, 200),
        ("/bundles?order=event&descending=1", name, 4, 200),
        ("/log", line, 10, 500),
    ):
        forth = steps(client, path, "next", row)
        assert len(forth) == pages, path
        assert len({each for _, page in forth for each in page}) == total, path
        back = steps(client, forth[-1][0], "prev", row)
        assert [page for _, page in back[::-1]] == [page for _, page in forth], path
