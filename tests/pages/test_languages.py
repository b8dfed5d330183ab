"""The pages in German: complete, chosen by the browser or the address, kept by links, and not mixed up by caches."""

from __future__ import annotations

import ast
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qsl

import click
import pytest
from babel.messages.catalog import Message
from babel.messages.mofile import read_mo
from bs4 import BeautifulSoup
from flask.testing import FlaskClient
from jinja2 import Environment

import metastore
from metastore import MetaStore
from metastore.cli.app import cli

from ..translations import FOLDER, PAGES, found, of_scripts, read
from .conftest import token
from .reader import Reader, reader_of
from .test_hostile import sign_in
from .test_links import client, crawl, targets

__all__ = ["client"]
TEMPLATES = sorted((PAGES / "templates").rglob("*.html"))
#: Names, and words of programs, which no language translates.
NAMES = {"MetaStore", "datapackage.json", "API", "UTC"}
#: The values and tags in a message.
_PARTS = re.compile(r"%\(\w+\)[sr]|</?\w+[^>]*>")
#: Attributes that a macro or a block writes, outside of a tag.
_ATTRIBUTE = re.compile(r'[a-z-]+="[^"]*"|\bdata-fresh\b')
_TEXT_OF = ("aria-label", "placeholder", "title", "alt", "data-label")


def texts(value: object) -> list[str]:
    return [str(each) for each in (value if isinstance(value, (tuple, list)) else (value,))]


def pairs(message: Message) -> Iterator[tuple[str, str]]:
    """Yield each text of a message with its translation."""
    yield from zip(texts(message.id), texts(message.string), strict=True)


def ids(catalogue: object) -> set[object]:
    return {message.id for message in catalogue if message.id}  # type: ignore[attr-defined]


def test_german_has_each_string_of_the_pages_and_no_other() -> None:
    german = read("de")
    assert ids(german) == ids(found()), "run `make translations`"
    assert [text for message in german if message.id for text, translated in pairs(message) if not translated] == []


def test_translations_have_the_values_and_the_tags_of_their_texts() -> None:
    wrong = [
        text
        for message in read("de")
        if message.id
        for text, translated in pairs(message)
        if sorted(_PARTS.findall(text)) != sorted(_PARTS.findall(translated))
    ]
    assert wrong == []


def test_texts_can_stand_in_an_attribute() -> None:
    """Templates take a text for HTML, so a quotation mark outside of an element would end an attribute."""
    of_pages = [each for each in read("de") if any(name.startswith("metastore/pages/") for name, _ in each.locations)]
    strings = [string for message in of_pages if message.id for pair in pairs(message) for string in pair]
    assert [string for string in strings if '"' in re.sub(r"<code>.*?</code>|<[^>]*>", "", string)] == []


def test_what_is_compiled_is_what_people_edit() -> None:
    german = read("de")
    compiled = read_mo(io.BytesIO((FOLDER / "de.mo").read_bytes()))
    assert {pair for each in compiled if each.id for pair in pairs(each)} == {
        pair for each in german if each.id for pair in pairs(each)
    }
    assert (PAGES / "static" / "words.de.js").read_text(encoding="utf-8") == of_scripts(german)


def bare(source: str) -> list[str]:
    """Return the texts of a template that do not go through gettext."""
    in_blocks = re.sub(r"\{%\s*trans\b.*?endtrans\s*%\}", "", source, flags=re.DOTALL)
    environment = Environment(autoescape=True, extensions=["jinja2.ext.i18n"])
    parts = [text if kind == "data" else " " for _line, kind, text in environment.lex(in_blocks)]
    soup = BeautifulSoup("".join(parts), "html.parser")
    shown = [str(text) for text in soup.find_all(string=True) if type(text).__name__ == "NavigableString"]
    shown += [str(tag[name]) for tag in soup.find_all(True) for name in _TEXT_OF if tag.has_attr(name)]
    texts_alone = (" ".join(_ATTRIBUTE.sub("", text).split()) for text in shown)
    return [words for words in texts_alone if re.search("[A-Za-z]{2}", words)]


#: Examples of what to type, and Pico's own name for the trail.
EXAMPLES = {
    "breadcrumb",
    "E:TOR860",
    "metastore dataset update datapackage.json",
    "metastore journal",
    "metastore tag list",
    "owner/name",
    "salinity -ice",
    "v1.0",
    "2026-05-31 or 2026-05-31T14:30",
}


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: str(path.relative_to(PAGES / "templates")))
def test_a_template_has_no_text_that_is_not_translated(template: Path) -> None:
    assert [words for words in bare(template.read_text()) if words.strip("· /") not in NAMES | EXAMPLES] == []


def test_a_bare_text_is_found() -> None:
    assert bare('<p title="Hello there">{{ _("No") }} Text {% trans %}no{% endtrans %}</p>') == ["Text", "Hello there"]


#: The calls whose text people read, each with the position of the text.
_TOLD = {"flash": 0, "to_dataset": 1, "_to": 1, "_error_page": 0}
_TOLD |= dict.fromkeys(("InvalidInput", "PermissionDenied", "AuthenticationError", "TooLarge"), 0)


def untranslated(source: str) -> list[int]:
    """Return the lines of the calls in a module that tell people a text without translating it."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    told = [(call, _TOLD[name]) for call in calls if (name := getattr(call.func, "id", "")) in _TOLD]
    texts_of = [call.args[at] for call, at in told if len(call.args) > at]
    return [text.lineno for text in texts_of if isinstance(text, (ast.Constant, ast.JoinedStr))]


@pytest.mark.parametrize("path", sorted(PAGES.glob("*.py")), ids=lambda path: path.stem)
def test_a_module_tells_people_only_what_is_translated(path: Path) -> None:
    assert untranslated(path.read_text()) == []


def test_an_untranslated_message_is_found() -> None:
    assert untranslated('flash(f"Deleted {name}.")\nflash(_("Deleted."))\nraise InvalidInput("no")') == [1, 3]


def lang_of(page: str) -> str:
    """Return the language that a page names at its start; to parse all of it would take longer than to make it."""
    return str(BeautifulSoup(page[:200], "html.parser").html["lang"])  # type: ignore[index]


def test_the_browser_chooses_the_language(client: FlaskClient) -> None:
    english = client.get("/datasets", headers={"Accept-Language": "fr, en;q=0.5"})
    german = client.get("/datasets", headers={"Accept-Language": "de-AT, en;q=0.5"})
    assert (lang_of(english.text), lang_of(german.text)) == ("en", "de")
    assert "Suchwörter" in german.text
    assert "Words" not in german.text
    assert german.headers["Content-Language"] == "de"


def test_the_address_goes_before_the_browser_and_needs_no_cookie(client: FlaskClient) -> None:
    answer = client.get("/datasets?lang=de", headers={"Accept-Language": "en"})
    assert lang_of(answer.text) == "de"
    assert "Set-Cookie" not in answer.headers
    assert lang_of(client.get("/datasets?lang=tlh").text) == "en"


def test_caches_keep_the_languages_apart(client: FlaskClient) -> None:
    for path in ("/", "/datasets/chemistry/acids", "/no-such-page"):
        answer = client.get(path, headers={"Accept": "text/html"})
        assert "Accept-Language" in answer.headers["Vary"], path
        assert answer.headers["Cache-Control"] == "private, no-cache"
        assert "ETag" not in answer.headers


def test_each_page_links_to_itself_in_the_other_language(client: FlaskClient) -> None:
    page = BeautifulSoup(client.get("/search?q=acids&order=title").text, "html.parser")
    other = page.select_one("a[hreflang=de]")
    assert other is not None
    assert other["href"] == "?q=acids&order=title&lang=de"
    assert other.text == "Deutsch"


def test_the_other_language_repeats_only_parameters_that_the_page_has(client: FlaskClient) -> None:
    query = "owner=physics&q=cars&token=secret&next=//evil.example.org&q%22=x&after=x/y"
    page = BeautifulSoup(client.get(f"/datasets?{query}").text, "html.parser")
    [link] = page.select("footer a[hreflang]")
    assert sorted(dict(parse_qsl(str(link["href"])[1:]))) == ["after", "lang", "owner", "q"]


def test_a_form_has_the_other_language_until_it_is_sent() -> None:
    reader = reader_of(metastore.connect("memory:", author="Ann"))
    assert reader.opens("/sign-in?next=/datasets/new").texts("footer a[hreflang]") == ["Deutsch"]
    assert reader.sends("Sign in", token="none").texts("footer a[hreflang]") == []


def test_each_link_and_form_keeps_the_language(client: FlaskClient) -> None:
    """All but the permanent address of a revision, which a citation has."""
    sign_in(client)
    wrong, seen = set[str](), set[str]()

    def look(url: str, page: str) -> None:
        if "lang=de" in url:
            seen.add(url)
            wrong.update(link for link in targets(page, url) if "lang=de" not in link)
            assert lang_of(page) == "de", url

    crawl(client, "/?lang=de", look)
    assert {link for link in wrong if not re.fullmatch(r"/datasets/[^?]*\?revision=[0-9a-f]{40}", link)} == set()
    assert len(seen) > 50


def german(store: MetaStore) -> Reader:
    reader = reader_of(store)
    reader.client.environ_base["HTTP_ACCEPT_LANGUAGE"] = "de"
    return reader


@pytest.mark.parametrize(
    ("reader", "unknown", "without"),
    [
        (reader_of, "There is no page at this address. Check how it is spelled.", "This service keeps no bundles."),
        (german, "Unter dieser Adresse gibt es keine Seite.", "Dieser Dienst führt keine Bündel."),
    ],
)
def test_an_address_without_a_page_says_why(reader: Callable[[MetaStore], Reader], unknown: str, without: str) -> None:
    browser = reader(metastore.connect("memory:", author="Ann")).client
    for path, words in (("/nowhere", unknown), ("/bundles", without)):
        answer = browser.get(path, headers={"Accept": "text/html"})
        assert answer.status_code == 404
        assert words in answer.text


WRONG = {
    "name": "Salt Data",
    "resources": [
        {"name": "r", "path": "a.csv", "schema": {"fields": [{"name": "lat", "type": "floaty"}], "primaryKey": "id"}},
        {"name": "s", "path": "A.csv", "hash": "SHA256:00"},
        {"name": "t"},
    ],
}


def test_findings_are_in_the_language_of_the_page() -> None:
    store = metastore.connect("memory:", author="Ann", validation="off")
    store.dataset_create("ocean/salt", WRONG)
    found = german(store).opens("/datasets/ocean/salt").texts(".findings li")
    assert found == [
        "Das Attribut name ist 'Salt Data', darf aber nur a bis z, 0 bis 9 und - . _ / enthalten (Data Package 1.0).",
        "Ressource 't' hat weder data noch path (Data Package 1.0).",
        "Der Primärschlüssel von Ressource 'r' nennt ein Feld, das es nicht gibt: 'id'.",
        "Der Hash von Ressource 's' beginnt mit SHA256:, nicht mit sha256:.",
        "Der Pfad 'A.csv' von Ressource 's' und 'a.csv' sind unter Windows und macOS dieselbe Datei.",
    ]


def test_summaries_are_in_the_language_of_the_page() -> None:
    store = metastore.connect("memory:", author="Ann", validation="off")
    store.dataset_create("ocean/salt", {"title": "Salt", "resources": [{"name": "a", "path": "a.csv"}]})
    store.dataset_patch("ocean/salt", {"title": "Salts", "version": "2", "resources": [{"name": "b", "path": "a.csv"}]})
    reader = german(store)
    said = "1 Ressource umbenannt; title geändert; version hinzugefügt"
    assert said in reader.opens("/datasets/ocean/salt/history?changes=1").text()
    first = list(store.revision_list("ocean/salt"))[-1].id
    assert said in reader.opens(f"/datasets/ocean/salt/compare?from={first}").text(".summary")
    assert "path unverändert" in reader.text()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("Cat data", "C\u0430t data", "'C\\u0430t data' (nur Zeichen, die gleich aussehen)"),
        ("a\nb", "a\r\nb", "geändert: Zeilenenden LF → CRLF"),
        ([[0] * 40], [[1] + [0] * 39], "0 → 1 an Position 1, 1"),
        ("a " * 60 + "end", "b " + "a " * 59 + "END", "geändert an 2 Stellen: "),
        ({"a": 1}, [{"name": f"item-{n:04}", "text": "t" * 60} for n in range(4)], "[4 Elemente: item-0000, "),
    ],
)
def test_changed_values_are_told_in_the_language_of_the_page(old: object, new: object, words: str) -> None:
    store = metastore.connect("memory:", author="Ann", validation="off")
    store.dataset_create("ocean/salt", {"x": old})
    store.dataset_update("ocean/salt", {"x": new})
    reader = german(store)
    reader.opens("/sign-in").sends("Anmelden", token=token("ann"))
    assert words in reader.opens("/datasets/ocean/salt/undo?revision=HEAD").text(".changes")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/datasets/ocean/none", "Es gibt keinen Datensatz ocean/none."),
        ("/datasets/ocean/salt?revision=v9", "Datensatz ocean/salt hat keine Revision 'v9'."),
        ("/datasets/ocean/salt/compare?from=v9", "Datensatz ocean/salt hat keine Revision 'v9'."),
        ("/search?q=%22salt", 'Setzen Sie ein zweites " hinter die Wortgruppe.'),
    ],
)
def test_errors_are_in_the_language_of_the_page(path: str, words: str) -> None:
    store = metastore.connect("memory:", author="Ann")
    store.dataset_create("ocean/salt", {"title": "Salt"})
    assert words in german(store).opens(path).text()


def test_a_refused_form_speaks_the_language_of_the_page() -> None:
    reader = german(metastore.connect("memory:", author="Ann"))
    reader.opens("/sign-in").sends("Anmelden", token=token("ann"))
    reader.opens("/datasets/new?as=json").sends("Anlegen", id="Ocean/salt", text="{}")
    assert "'Ocean' in der Datensatz-ID 'Ocean/salt' muss kleingeschrieben sein: etwa 'ocean'." in reader.text()
    reader.sends("Anlegen", id="ocean/salt", text='{"title": }')
    assert "kein JSON: ein Wert wurde erwartet: in Zeile 1, Spalte 11" in reader.text()


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ("none", "Das ist kein JSON Web Token aus drei Teilen."),
        (token("ann") + "x", "Das Token ist mit keinem der Schlüssel signiert, die hier anerkannt werden."),
    ],
)
def test_a_refused_token_is_told_of_in_the_language_of_the_page(sent: str, words: str) -> None:
    reader = german(metastore.connect("memory:", author="Ann")).opens("/sign-in")
    assert reader.sends("Anmelden", token=sent).text(".problem") == words


def test_a_storage_that_fails_and_an_unknown_address_are_told_of_in_the_language_of_the_page(tmp_path: Path) -> None:
    store = metastore.connect(tmp_path / "store", author="Ann")
    store.dataset_create("ocean/salt", {"title": "Salt"})
    reader = german(store)
    reader.client.environ_base["HTTP_ACCEPT"] = "text/html"
    head = tmp_path / "store" / "ocean" / "salt.git" / "HEAD"
    head.unlink()
    head.mkdir()
    failed = "Die gespeicherten Daten sind nicht lesbar. Das Protokoll des Dienstes nennt Einzelheiten."
    assert failed in reader.opens("/datasets/ocean/salt").text()
    assert "Unter dieser Adresse gibt es keine Seite. Prüfen Sie die Schreibweise." in reader.opens("/no-such").text()


def test_of_a_moved_thing_the_page_says_from_where_to_where_in_its_language() -> None:
    store = metastore.connect("memory:", author="Ann", validation="off")
    fields = [{"name": name, "type": "number"} for name in "abc"]
    resource = {"name": "r", "path": "r.csv", "schema": {"fields": fields}}
    first = store.dataset_create("ocean/salt", {"resources": [resource]}).revision.id
    resource = resource | {"schema": {"fields": [*fields[1:], fields[0]]}}
    store.dataset_patch("ocean/salt", {"resources": [resource]})
    page = german(store).opens(f"/datasets/ocean/salt/compare?from={first}")
    assert page.texts(".differences tbody td") == ["am Anfang", "am Ende"]


def test_the_pages_name_only_commands_that_exist() -> None:
    written = [text for message in found() for text in texts(message.id)]
    named = [words for text in written for words in re.findall(r"(?:<code>|`)metastore ([a-z ]+\b)", text)]
    assert "import" in named
    for words in named:
        command: click.Command | None = cli
        for word in words.split():
            assert isinstance(command, click.Group), words
            command = command.get_command(click.Context(command), word)
        assert command is not None, words
