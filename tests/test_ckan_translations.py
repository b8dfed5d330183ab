"""The catalogues of the CKAN extension: each language has all strings, compiled as they are written."""

from __future__ import annotations

import io
import re
from pathlib import Path
from string import Formatter

import pytest
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po

EXTENSION = Path(__file__).parent.parent / "examples" / "ckanext-metastore" / "ckanext" / "metastore"
#: A string that is marked, in Python or in a template; Python may break the line before it.
MARKED = re.compile(r"""(?<![\w"'])_\(\s*(['"])((?:(?!\1).)+)\1\s*[,)]""")


def marked() -> set[str]:
    sources = [*EXTENSION.rglob("*.py"), *EXTENSION.rglob("*.html")]
    return {text for source in sources for _, text in MARKED.findall(source.read_text(encoding="utf-8"))}


def fields(text: str) -> set[str]:
    return {name for _, name, *_ in Formatter().parse(text) if name}


@pytest.mark.parametrize("language", ["de", "es", "fr", "pt_BR"])
def test_a_language_has_all_strings_of_the_extension_and_no_others(language: str) -> None:
    folder = EXTENSION / "i18n" / language / "LC_MESSAGES"
    catalogue = read_po(io.BytesIO((folder / "ckanext-metastore.po").read_bytes()), locale=language)
    strings = {str(message.id): str(message.string) for message in catalogue if message.id}
    assert set(strings) == marked()
    assert all(strings.values())
    assert {text for text, translated in strings.items() if fields(text) != fields(translated)} == set()
    compiled = read_mo(io.BytesIO((folder / "ckanext-metastore.mo").read_bytes()))
    assert {str(message.id): str(message.string) for message in compiled if message.id} == strings
