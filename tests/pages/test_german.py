"""Pages in German have no English word that is not data: each page and some refusals, as a visitor and signed in."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from bs4 import BeautifulSoup, Comment

import metastore
from metastore import bundle
from metastore.auth.key_sources import GivenKeys
from metastore.auth.keys import secret_key
from metastore.auth.tokens import Verifier
from metastore.web import create_app

from .. import translations
from .conftest import SECRET
from .reader import Reader
from .test_widths import PAGES

REFUSED = (
    *("/datasets/qa/qn", "/datasets/qa/qg", "/bundles/QN", "/snapshots/999", "/snapshots/1/restore"),
    *("/datasets?order=q", "/datasets?after=q", "/datasets?at=q", "/datasets?changed_since=q", '/datasets?q="'),
    *("/datasets?at=2026-01-01&findings=true", "/bundles?order=q", "/log?since=q", "/bundles-as-of?at=q"),
    *("/datasets/qa/qb?revision=q", "/datasets/qa/qb/compare?from=q", "/datasets/qa/qb/tags/q/edit"),
    *("/datasets/qa/qb/undo?revision=q", "/datasets/qa/qb/history?since=q", "/datasets/qa/qb/history?path=q"),
)
#: Members of descriptors, words of the API, and names of tools, which are the same in both languages.
NAMES = {
    *("title", "name", "path", "type", "format", "string", "resources", "read", "create", "update", "delete", "list"),
    *("patch", "purge", "order", "changed", "relevance", "event", "storage", "run", "devices", "updated", "user"),
    *(
        "following",
        "preceding",
        "since",
        "findings",
        "grep",
        "author",
        "until",
        "resource",
        "field",
        "fields",
        "schema",
    ),
}
_WORD = re.compile(r"[A-Za-zÄÖÜäöüß]{3,}")
#: Elements, values, addresses and scopes.
_VALUE = re.compile(r"<[^>]+>|%\(\w+\)s|\S+[/:]\S+")


def words(text: str) -> set[str]:
    return {word.lower() for word in _WORD.findall(_VALUE.sub(" ", text))}


def only_english() -> set[str]:
    """Return the words of the catalogue that German texts do not have."""
    sides: tuple[set[str], set[str]] = set(), set()
    for message in translations.read("de"):
        for side, value in zip(sides, (message.id, message.string), strict=True):
            for text in value if isinstance(value, tuple) else (value,):
                side |= words(str(text))
    return sides[0] - sides[1] - NAMES


def texts(page: BeautifulSoup) -> Iterator[str]:
    """Yield the texts of a page that are not data, also those for screen readers and on hover."""
    for part in page.select("script, pre, code, textarea, option, [hreflang], .preview, .beside, .unified"):
        part.decompose()
    for node in page.find_all(string=True):
        if not isinstance(node, Comment):
            yield str(node)
    for tag in page.find_all(True):
        yield from (str(tag[name]) for name in ("title", "aria-label", "placeholder") if tag.get(name))


@pytest.fixture(scope="module")
def reader() -> Reader:
    store = metastore.connect("memory:", author="Qann", validation="off")
    table = {"name": "qr", "path": "q.csv", "schema": {"fields": [{"name": "qf", "type": "string"}]}}
    rows = [table | {"name": f"qr{number}"} for number in range(14)]
    store.dataset_create("qa/qb", {"title": "Qb", "resources": rows}, message="qm")
    store.tag_create("qa/qb", "v1")
    store.dataset_patch("qa/qb", {"title": "Qc", "resources": rows[1:]}, message="qn")
    store.dataset_create("qa/qg", {"title": "Qg"}, message="qm")
    store.dataset_delete("qa/qg", message="qq")
    registry = bundle.connect("memory:", groups=bundle.Groups.parse("groups = QG\nQG = ann\nroot = carol"))
    for name in ("QA", "QB", "QD"):
        made = {"name": name, "event": "e,q", "ifb_group": "QG", "devices": ["E:QDIR"]}
        registry.bundle_create(made, user="ann", comment="qm")
    registry.bundle_delete("QD", user="ann", comment="qq")
    verifier = Verifier((GivenKeys(secret_key(SECRET)),))
    return Reader(create_app(store, verifier=verifier, bundles=registry))


def addresses() -> list[str]:
    swapped = {"vega/datasets": "qa/qb", "ocean/rows": "qa/qb", "NuMI_Physics_A9": "QA", "BNB_BPM_settings": "QB"}
    swapped |= {"E:HRNDIR": "E:QDIR", "/snapshots/6/": "/snapshots/4/", "q=csv": "q=q", "find=unemployment": "find=qr"}
    found = [*PAGES, *REFUSED]
    for old, new in swapped.items():
        found = [path.replace(old, new) for path in found]
    return list(dict.fromkeys(found))


@pytest.mark.parametrize("scopes", [(), ("ds:*:*",), ("ds:*:*", "bundles:*:write")], ids=["visitor", "editor", "admin"])
def test_a_page_in_german_has_no_english_word(reader: Reader, scopes: tuple[str, ...]) -> None:
    if scopes:
        reader.client.delete_cookie("metastore")
        reader.signs_in("ann", *scopes)
    english, wrong = only_english(), {}
    for path in addresses():
        reader.opens(f"{path}{'&' if '?' in path else '?'}lang=de")
        told = {text.strip() for text in texts(reader.soup) if words(text) & english}
        wrong |= {path: told} if told else {}
    assert wrong == {}


def test_an_english_word_is_found() -> None:
    assert "comparison" in only_english()
