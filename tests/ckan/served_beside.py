"""A CKAN that loads the extensions that portals use beside ours: run by `make test-ckan`.

ckanext-scheming with the schema of ckanext-dcat, its RDF harvester under ckanext-harvest, and ckanext-xloader with
CKAN's datastore. Each changes datasets in ways of its own.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.bundle.postgres_server import new_server
from tests.ckan.portal import Portal, new_database

PLUGINS = """\
metastore metastore_files activity datastore xloader scheming_datasets dcat structured_data harvest ckan_harvester
dcat_rdf_harvester"""
SETTINGS = {
    "scheming.dataset_schemas": "ckanext.dcat.schemas:dcat_ap_recommended.yaml",
    "scheming.presets": "ckanext.scheming:presets.json ckanext.dcat.schemas:presets.yaml",
    "ckanext.dcat.rdf.profiles": "euro_dcat_ap_3 euro_dcat_ap_scheming",
}
CATALOGUE = """\
@prefix dcat: <http://www.w3.org/ns/dcat#> .
@prefix dct: <http://purl.org/dc/terms/> .
<https://elsewhere.example.org/trams> a dcat:Dataset ;
    dct:identifier "trams" ;
    dct:title "{title}" ;
    dct:description "Where trams stop" ;
    dcat:keyword "traffic" ;
    dcat:distribution <https://elsewhere.example.org/trams/csv> .
<https://elsewhere.example.org/trams/csv> a dcat:Distribution ;
    dct:title "Stops" ;
    dcat:accessURL <https://elsewhere.example.org/trams.csv> .
"""


@pytest.fixture(scope="module")
def portal() -> Iterator[Portal]:
    dsn = new_server().dsn
    datastore = new_database(dsn, "datastore")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE ROLE reader LOGIN")
    settings = {
        "ckan.datastore.write_url": datastore,
        "ckan.datastore.read_url": datastore.replace("postgres@", "reader@"),
        "ckanext.xloader.jobs_db.uri": new_database(dsn, "jobs"),
    }
    made = Portal(
        Path(os.environ["CKAN_PROGRAMS"]).absolute(),
        testing=False,
        plugins=" ".join(PLUGINS.split()),
        settings={**SETTINGS, **settings},
        dsn=dsn,
    )
    try:
        permissions = made.ckan("datastore", "set-permissions")
        with psycopg.connect(datastore, autocommit=True) as connection:
            connection.execute(re.sub(r"(?m)^\\connect.*", "", permissions))  # type: ignore[call-overload]
        made.token = made.user("ann", "Ann Lee")
        xloader = made.ckan("user", "token", "add", "ann", "xloader", "--quiet").strip()
        made.ckan("config-tool", str(made.ini), f"ckanext.xloader.api_token = {xloader}")
        made.serve()
        made.act(made.token, "organization_create", name="physics", title="Physics")
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def catalogue() -> Iterator[tuple[str, dict[str, str]]]:
    """The address of somebody's catalogue, and the title of its only dataset, which can be changed."""
    said = {"title": "Trams"}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/turtle")
            self.end_headers()
            self.wfile.write(CATALOGUE.format(**said).encode())

        do_HEAD = do_GET  # noqa: N815 - the name is http.server's

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/catalogue.ttl", said
    server.shutdown()
    server.server_close()


def in_step(portal: Portal) -> bool:
    return "in step" in portal.ckan("metastore", "status")  # it raises if the status is not 0


def messages(portal: Portal, name: str) -> list[str]:
    return [each["message"] for each in portal.act(portal.token, "dataset_revision_list", id=name)]


def upload(portal: Portal, action: str, content: bytes, **said: str) -> dict[str, Any]:
    files = {"upload": ("speeds.csv", content)}
    headers = {"Authorization": portal.token}
    answer = httpx.post(f"{portal.url}/api/3/action/{action}", data=said, files=files, headers=headers, timeout=120)
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()["result"]
    return result


def test_what_xloader_loads_is_no_change_and_older_versions_keep_their_files(portal: Portal) -> None:
    portal.act(portal.token, "package_create", name="cars", owner_org="physics", title="Cars", notes="Who drives what")
    made = upload(portal, "resource_create", b"speed\n30\n", package_id="cars", name="Speeds", format="CSV")
    portal.ckan("jobs", "worker", "--burst")
    shown = portal.act(portal.token, "resource_show", id=made["id"])
    assert shown["datastore_active"]
    loaded = portal.act(portal.token, "datastore_search", resource_id=made["id"])
    assert [row["speed"] for row in loaded["records"]] in ([30], ["30"])
    assert in_step(portal)
    # xloader puts its own hash of the file in the place of ours.
    first = portal.act(portal.token, "dataset_revision_list", id="cars")[0]["id"]

    upload(portal, "resource_patch", b"speed\n300\n", id=made["id"])
    portal.ckan("jobs", "worker", "--burst")
    assert in_step(portal)
    page = httpx.get(f"{portal.url}/dataset/cars/versions/{first}", timeout=120)
    assert page.status_code == 200
    old = f"{portal.url}/dataset/cars/versions/{first}/resource/{made['id']}"
    assert "The file of this version is gone" not in httpx.get(old, timeout=120, follow_redirects=True).text
    portal.act(portal.token, "dataset_revert", id="cars", revision=first)
    portal.ckan("jobs", "worker", "--burst")
    assert httpx.get(made["url"], timeout=120).content == b"speed\n30\n"
    loaded = portal.act(portal.token, "datastore_search", resource_id=made["id"])
    assert [row["speed"] for row in loaded["records"]] in ([30], ["30"])
    assert in_step(portal)


def test_a_harvested_dataset_has_a_version_for_each_change_and_its_source_stays_in_step(
    portal: Portal, catalogue: tuple[str, dict[str, str]]
) -> None:
    address, said = catalogue
    source = {"name": "elsewhere", "title": "Elsewhere", "url": address, "source_type": "dcat_rdf"}
    portal.act(portal.token, "harvest_source_create", **source, owner_org="physics", frequency="MANUAL", config="")
    for title in ("Trams", "Trams", "Trams", "Trams and stops"):
        said["title"] = title
        portal.ckan("harvester", "run-test", "elsewhere")
        assert in_step(portal)
    listed = portal.act(portal.token, "dataset_revision_list", id="trams", fields=True)
    # CKAN guesses a missing media type in its first `package_update`, and not in `package_create`.
    assert [[field["field"] for field in each["fields"]] for each in listed] == [["title"], ["mimetype"], []]
    older = portal.act(portal.token, "dataset_revision_show", id="trams", revision=listed[-1]["id"])
    assert older["package"]["title"] == "Trams"

    uuid = portal.act(portal.token, "harvest_source_show", id="elsewhere")["id"]
    portal.act(portal.token, "harvest_source_clear", id=uuid)  # by statements of its own, past CKAN's actions
    with pytest.raises(RuntimeError, match="404"):
        portal.act(portal.token, "package_show", id="trams")
    assert ": deleted" in portal.ckan("metastore", "reconcile")
    assert in_step(portal)


def test_the_fields_of_dcat_are_compared_shown_and_restored(portal: Portal) -> None:
    said = {"name": "boats", "owner_org": "physics", "title": "Boats", "notes": "What floats"}
    portal.act(portal.token, "package_create", **said, contact=[{"name": "Ann", "email": "ann@example.org"}])
    portal.act(portal.token, "package_patch", id="boats", contact=[{"name": "Bo", "email": "bo@example.org"}])
    new, old = (each["id"] for each in portal.act(portal.token, "dataset_revision_list", id="boats"))
    page = httpx.get(f"{portal.url}/dataset/boats/versions/{old}", timeout=120, follow_redirects=True)
    assert page.status_code == 200
    assert "ann@example.org" in page.text
    compared = httpx.get(f"{portal.url}/dataset/boats/versions/compare?from={old}&to={new}", timeout=120)
    assert re.search(r"Contact points</a></th>\s*<td>Name: Ann, Email: ann@example.org</td>", compared.text)
    assert httpx.get(f"{portal.url}/dataset/boats.ttl", timeout=120).text.count("Bo") >= 1
    portal.act(portal.token, "dataset_revert", id="boats", revision=old)
    assert portal.act(portal.token, "package_show", id="boats")["contact"][0]["name"] == "Ann"
    assert messages(portal, "boats")[0].startswith("Restore version")
    assert in_step(portal)
