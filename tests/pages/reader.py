"""Somebody who reads pages and sends their forms without a browser: fast, and with no script that could help."""

from __future__ import annotations

from typing import cast
from urllib.parse import urljoin

from bs4 import BeautifulSoup, Tag
from flask import Flask
from werkzeug.test import TestResponse

from metastore import MetaStore
from metastore.auth.key_sources import GivenKeys
from metastore.auth.keys import secret_key
from metastore.auth.tokens import Verifier
from metastore.web import create_app

from .conftest import SECRET, token

_HERE = {"Origin": "http://localhost"}


class Reader:
    """Reads one page at a time."""

    def __init__(self, app: Flask) -> None:
        self.client = app.test_client()
        self.path = "/"
        self.status = 0
        self.soup = BeautifulSoup("", "html.parser")

    def opens(self, path: str) -> Reader:
        return self._sees(self.client.get(path, follow_redirects=True))

    def signs_in(self, user: str, *scopes: str) -> None:
        self.opens("/sign-in").sends("Sign in", token=token(user, *scopes))
        assert self.status == 200

    def follows(self, name: str) -> Reader:
        """Follow the last link of this name."""
        links = [link for link in self.soup.select("a[href]") if text_of(link) == name]
        assert links, f"{self.path} has no link {name!r}"
        return self.opens(urljoin(self.path, str(links[-1]["href"])))

    def sends(self, button: str, /, _pressed: Tag | None = None, **typed: str) -> Reader:
        """Send the form that has this button with what is typed into its fields; an empty text unticks a box."""
        pressed = _pressed or next(each for each in self.soup.select("main button") if text_of(each) == button)
        form = cast("Tag", pressed.find_parent("form") or self.soup.find(id=pressed["form"]))
        fields = {**fields_of(form), **({str(pressed["name"]): str(pressed["value"])} if pressed.get("name") else {})}
        missing = [name for name in typed if not form.select(f'[name="{name}"]')]
        assert not missing, f"the form has no {missing}"
        address, values = str(form.get("action") or self.path), fields | typed
        if form.get("method") == "post":
            return self._sees(self.client.post(address, data=values, headers=_HERE, follow_redirects=True))
        return self._sees(self.client.get(address.split("?")[0], query_string=values, follow_redirects=True))

    def presses(self, label: str, /, **typed: str) -> Reader:
        """Send the form that has the button with this label for screen readers."""
        button = self.soup.select_one(f'main button[aria-label="{label}"]')
        assert button, f"{self.path} has no button {label!r}"
        return self.sends(text_of(button), _pressed=button, **typed)

    def text(self, selector: str = "main") -> str:
        """Return the text of the first part that a CSS selector finds, on one line; empty without one."""
        part = self.soup.select_one(selector)
        return text_of(part) if part else ""

    def texts(self, selector: str) -> list[str]:
        return [text_of(part) for part in self.soup.select(selector)]

    def value(self, field: str) -> str:
        return fields_of(self.soup).get(field, "")

    def _sees(self, answer: TestResponse) -> Reader:
        self.path, self.status = answer.request.full_path.removesuffix("?"), answer.status_code
        self.soup = BeautifulSoup(answer.text, "html.parser")
        return self


def reader_of(store: MetaStore) -> Reader:
    """Return somebody who has not signed in to a service of this store."""
    return Reader(create_app(store, verifier=Verifier((GivenKeys(secret_key(SECRET)),))))


def editor_at(path: str, store: MetaStore) -> Reader:
    """Return Ann, signed in to a service of this store, at one of its pages."""
    reader = reader_of(store)
    reader.signs_in("ann")
    return reader.opens(path)


def text_of(part: Tag) -> str:
    return " ".join(part.get_text(" ").split())


def fields_of(form: Tag) -> dict[str, str]:
    """Return what a browser would send of a form, without its buttons."""
    values = {}
    for field in form.select("input[name], textarea[name], select[name]"):
        if field.has_attr("disabled"):
            continue
        name = str(field["name"])
        if field.name == "textarea":
            values[name] = field.get_text().removeprefix("\n")
        elif field.name == "select":
            chosen = field.select_one("option[selected]") or field.select_one("option")
            values[name] = str(chosen.get("value", chosen.get_text())) if chosen else ""
        elif field.get("type") not in ("checkbox", "radio") or field.has_attr("checked"):
            values[name] = str(field.get("value", ""))
    return values
