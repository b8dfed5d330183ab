"""A MetaStore service, and a person's browser as far as forms, their tokens and redirects go."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.ckan.portal import Portal
from tests.ckan.service import Service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    made = Service(tmp_path_factory.mktemp("service"))
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def browser(portal: Portal) -> Iterator[httpx.Client]:
    """Ann's browser, signed in."""
    with httpx.Client(base_url=portal.url, follow_redirects=True, timeout=120) as client:
        form = {"login": "ann", "password": "ann-password"}
        answer = send(client, "/user/login", form)
        assert "Ann Lee" in answer.text
        yield client


def send(client: httpx.Client, page: str, form: dict[str, Any], to: str | None = None) -> httpx.Response:
    """Fill a form of a page and send it, with the page's CSRF token."""
    shown = client.get(page)
    assert shown.status_code == 200, shown.text
    token = re.search(r'name="_csrf_token"[^>]*(?:value|content)="([^"]+)"', shown.text)
    token = token or re.search(r'<meta name="_csrf_token" content="([^"]+)"', shown.text)
    assert token, shown.text[:3000]
    answer = client.post(to or page, data={"_csrf_token": token[1], **form})
    assert answer.status_code == 200, answer.text[:3000]
    return answer


def links(client: httpx.Client, name: str) -> list[str]:
    """The addresses of the versions that a dataset's page of versions shows, newest first."""
    page = client.get(f"/dataset/{name}/versions")
    assert page.status_code == 200
    return re.findall(r'<td><input type="radio" name="from" value="([0-9a-f]{40})"', page.text)
