"""Bring the catalogues of the pages up to date with their sources, and compile them: `make translations`.

Babel finds the strings, in Python, templates and scripts. A string without a translation stays empty in the catalogue,
and a test fails until somebody writes it.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

PACKAGE = Path(__file__).parent.parent / "metastore"
PAGES = PACKAGE / "pages"
FOLDER = PAGES / "translations"
_KEYWORDS = {"_": None, "gettext": None, "later": None, "ngettext": (1, 2), "later_counted": (1, 2)}
#: The calls of the core that make a text which the pages translate.
_OF_THE_CORE = {"Phrase": None, "counted": (1, 2)}
_METHODS = [("**.py", "python"), ("pages/templates/**.html", "jinja2"), ("pages/static/**.js", "javascript")]
_OPTIONS = {"pages/templates/**.html": {"trimmed": "true", "silent": "false"}}


def found() -> Catalog:
    """Return the strings of the sources."""
    catalogue = Catalog(project="MetaStore", charset="utf-8", fuzzy=False)
    keywords = _KEYWORDS | _OF_THE_CORE
    for name, _line, message, comments, context in extract_from_dir(PACKAGE, _METHODS, _OPTIONS, keywords):
        if not name.startswith("pages/static/words."):
            catalogue.add(message, None, [(f"metastore/{name}", 0)], auto_comments=comments, context=context)
    return catalogue


def read(code: str) -> Catalog:
    """Return the catalogue of a language."""
    with (FOLDER / f"{code}.po").open("rb") as file:
        return read_po(file, locale=code)


def compiled(catalogue: Catalog) -> bytes:
    """Return a catalogue as `gettext` reads it."""
    write_mo(buffer := io.BytesIO(), catalogue)
    return buffer.getvalue()


def of_scripts(catalogue: Catalog) -> str:
    """Return the script with the strings that scripts show."""
    words = {}
    for message in catalogue:
        if message.id and any(name.endswith(".js") for name, _ in message.locations):
            ids, strings = (value if isinstance(value, tuple) else (value,) for value in (message.id, message.string))
            words |= dict(zip(ids, strings, strict=True))
    text = json.dumps(words, ensure_ascii=False, indent=2, sort_keys=True)
    return f"// Made by `make translations`: the strings of the scripts.\nglobalThis.metastoreWords = {text};\n"


def update(code: str) -> None:
    """Bring the catalogue of a language up to date, and compile it."""
    catalogue, source = read(code), found()
    source.creation_date = catalogue.creation_date  # so that nothing changes if no string did
    catalogue.update(source, no_fuzzy_matching=True)
    catalogue.obsolete.clear()
    with (FOLDER / f"{code}.po").open("wb") as file:
        write_po(file, catalogue, width=120, include_lineno=False, sort_output=True)
    (FOLDER / f"{code}.mo").write_bytes(compiled(catalogue))
    (PAGES / "static" / f"words.{code}.js").write_text(of_scripts(catalogue), encoding="utf-8")
    missing = [message.id for message in catalogue if message.id and not all(_strings(message.string))]
    print(f"{code}: {len(catalogue)} strings, {len(missing)} without a translation")


def _strings(value: object) -> tuple[object, ...]:
    return value if isinstance(value, tuple) else (value,)


if __name__ == "__main__":
    for path in sorted(FOLDER.glob("*.po")):
        update(path.stem)
