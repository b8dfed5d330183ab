"""The languages of the pages: which one a request asks for, and the strings in it, from one catalogue per language.

The strings in the source are English. `translations/de.po` has them in German, and is what people edit;
`make translations` brings it up to date, and compiles it. Nothing but `gettext` of the standard library reads it.
"""

from __future__ import annotations

import gettext as catalogues
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Flask, Request, Response, g, has_request_context, request
from markupsafe import Markup
from werkzeug.datastructures import ImmutableMultiDict

from metastore.phrase import Phrase

#: The languages by their codes, each in its own words. The first one is that of the source.
LANGUAGES = {"en": "English", "de": "Deutsch"}
_FOLDER = Path(__file__).parent / "translations"
_PARAMETER = "lang"
#: The field of a button that only draws a form again in another language, and sends nothing else that it asks for.
ONLY_DRAW = "only_draw"


class _Parameters(ImmutableMultiDict[str, str]):
    """Parameters that note which of them the page reads."""

    def __init__(self, mapping: Any = None) -> None:
        super().__init__(mapping)
        self.noted: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.noted.add(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self.noted.add(str(name))
        return super().__contains__(name)


class _Request(Request):
    parameter_storage_class = _Parameters


def install(app: Flask, pages: Blueprint) -> None:
    """Let templates and links of the pages be in the language that each request asks for."""
    app.request_class = _Request
    app.jinja_env.add_extension("jinja2.ext.i18n")
    app.jinja_env.policies["ext.i18n.trimmed"] = True
    app.jinja_env.install_gettext_callables(_found, _found_plural, newstyle=True)  # type: ignore[attr-defined]
    pages.url_defaults(_stay)


def language() -> str:
    """Return the language of this request: the one in its address, else the best one that the browser accepts."""
    if not has_request_context():
        return "en"
    chosen: str | None = g.get("language")
    if chosen is None:
        chosen = g.language = asked() or next(_accepted(), "en")
    return chosen


def _accepted() -> Iterator[str]:
    """Yield the languages that the browser accepts, the best first; `de-AT` stands for German as well."""
    for tag, quality in request.accept_languages:
        code = tag.lower().partition("-")[0]
        if quality > 0 and code in LANGUAGES:
            yield code


def asked() -> str | None:
    """Return the language that the address names (`?lang=de`), or None."""
    code = request.args.get(_PARAMETER, "")
    return code if code in LANGUAGES else None


def kept() -> dict[str, str]:
    """Return the parameter with the language that the address names, for another address."""
    code = asked()
    return {_PARAMETER: code} if code else {}


def field() -> Markup:
    """Return a hidden field for forms that change their address, so that they keep the language in it."""
    code = asked()
    return Markup('<input type="hidden" name="lang" value="{}">').format(code) if code else Markup("")


def choices(*, with_form: bool = False) -> list[tuple[str, str, str]]:
    """Return the other languages, each with its code, its name and the address of this page in it.

    The address has only the parameters that the page has read: no link repeats what somebody else made up. The answer
    to a form has none, since its address alone does not lead to what was typed, unless the form is sent there again.

    Args:
        with_form: Whether a button sends the form of the page to the address.
    """
    if request.method == "POST" and not with_form:
        return []
    asked: _Parameters = request.args  # type: ignore[assignment]
    query = {name: asked.getlist(name) for name in asked if name in asked.noted}
    others = ((code, name) for code, name in LANGUAGES.items() if code != language())
    return [(code, name, "?" + urlencode({**query, _PARAMETER: code}, doseq=True)) for code, name in others]


def tell(response: Response) -> None:
    """Say in the headers which language a page has, and that another reader may get another one."""
    if response.mimetype == "text/html":
        response.headers["Content-Language"] = language()
    response.vary.add("Accept-Language")


def gettext(message: str, /, **values: Any) -> str:
    """Return a message in the language of this request, with the values that it names as `%(name)s`."""
    return _found(message) % values


def ngettext(one: str, many: str, value: int, /, **values: Any) -> str:
    """Return the message for a number, in the language of this request."""
    return _found_plural(one, many, value) % values


def said(text: str) -> str:
    """Return a text of the core in the language of this request; as it is, if the catalogue does not have it."""
    if not isinstance(text, Phrase):
        return text
    values = {name: said(value) if isinstance(value, str) else value for name, value in text.values.items()}
    if text.many is not None:
        return ngettext(text.form, text.many, text.values["number"], **values)
    return gettext(text.form, **values)


def later(message: str) -> str:
    """Mark a message for the catalogue. It is translated when it is shown."""
    return message


def later_counted(one: str, many: str) -> tuple[str, str]:
    """Mark a message with its plural for the catalogue."""
    return one, many


def _stay(endpoint: str, values: dict[str, Any]) -> None:
    if endpoint != "pages.static" and has_request_context():
        for name, code in kept().items():
            values.setdefault(name, code)


@cache
def _catalogue(code: str) -> catalogues.NullTranslations:
    with (_FOLDER / f"{code}.mo").open("rb") as file:
        return catalogues.GNUTranslations(file)


def _found(message: str) -> str:
    code = language()
    return message if code == "en" or not message else _catalogue(code).gettext(message)


def _found_plural(one: str, many: str, number: int) -> str:
    code = language()
    if code == "en":
        return one if number == 1 else many
    return _catalogue(code).ngettext(one, many, number)
