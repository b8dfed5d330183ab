"""The cost of one request: two seconds of a processor and 200 MB, for the largest descriptors that are permitted.

The service runs in a process of its own, and Linux says what each request took there. The short test permits an
eighth of the usual size, and so of the memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import metastore
from metastore import bundle
from metastore.descriptor.limits import MAX_BYTES, most_values
from metastore.web import create_app

from ..serving import Answer, Served, served

SECONDS, MEMORY = 2.0, 200_000_000
MERGE, PATCH = "application/merge-patch+json", "application/json-patch+json"
API, PAGES = "/api/v1/datasets/physics", "/datasets/physics"
EMOJI = "\N{GRINNING FACE}"


def a_title(most: int, character: str) -> dict[str, Any]:
    """Return one text, of which one character decides how many bytes Python takes for each of the others."""
    return {"title": "x" * (most - 1_000) + character}


def a_name(most: int, character: str) -> dict[str, Any]:
    return {"x" * (most - 1_000) + character: 1}


def texts(most: int, character: str) -> dict[str, Any]:
    return {"x": ["y" * (most // 3_000 - 20)] * 2_990 + [character]}


def values(most: int) -> dict[str, Any]:
    return {"x": [f"{number:060}" for number in range(min(most_values(most), most // 70) - 10)]}


def members(most: int) -> dict[str, Any]:
    """Return a descriptor whose values all have names."""
    return {f"k{number:0130}": number for number in range(min(most_values(most) - 10, most // 180))}


def resources(most: int) -> dict[str, Any]:
    count = min(most_values(most) // 4, most // 120) - 10
    return {"resources": [{"name": f"r{number}", "path": f"r{number}.csv"} for number in range(count)]}


#: What a descriptor of so many bytes of memory may be. A character beyond U+FFFF makes all others take four bytes.
SHAPES = {
    "a title": lambda most: a_title(most, "x"),
    "a title with é": lambda most: a_title(most, "é"),
    "a title with €": lambda most: a_title(most // 2, "€"),
    "a title with an emoji": lambda most: a_title(most // 4, EMOJI),
    "the name of a member": lambda most: a_name(most, "x"),
    "the name of a member with an emoji": lambda most: a_name(most // 4, EMOJI),
    "3,000 texts": lambda most: texts(most, "x"),
    "3,000 texts, and an emoji": lambda most: texts(most // 4, EMOJI),
    "many values": values,
    "many members": members,
    "many resources": resources,
}


#: The rows of the table in security.md that bound what each endpoint of the API and of the pages does.
ROWS = {
    "descriptor, and any other body of JSON": """datasets.dataset_put datasets.dataset_read datasets.dataset_raw
        datasets.dataset_delete datasets.dataset_move datasets.dataset_revert datasets.project_read
        datasets.resource_list datasets.resource_read pages.datasets.show pages.dataset_editor.edit
        pages.dataset_editor.update pages.dataset_editor.new pages.dataset_editor.create pages.dataset_forms.delete
        pages.dataset_forms.remove pages.dataset_forms.move pages.dataset_forms.rename pages.dataset_forms.revert
        pages.dataset_forms.put_back""",
    "JSON Patch": "datasets.dataset_patch",
    "differences": "revisions.revision_diff",
    "merge and undo": "datasets.dataset_undo pages.dataset_forms.undo pages.dataset_forms.take_out",
    "where each value comes from": "revisions.blame pages.datasets.blame",
    "history of a part; the feed with summaries": "revisions.revision_list revisions.changes pages.history.show",
    "catalogue, search, versions, what each revision changed": """datasets.dataset_list pages.catalogue.index
        pages.catalogue.search pages.changelog.index pages.choosing.show pages.home.index""",
    "check": "pages.dataset_editor.look",
    "page of a comparison": "pages.compare.show pages.compare.as_text",
    "clone and fetch": "clones.clone clones.clone_capabilities",
    "push": "clones.receive",
    "copy lines into the journal": "revisions.journal_import",
    "read the journal": "revisions.journal",
    "bundle, its snapshots, comparisons and forms": """bundles.bundle_read bundles.bundle_put bundles.bundle_patch
        bundles.bundle_delete bundles.bundle_copy bundles.bundle_restore bundles.bundle_undo bundles.bundle_snapshot
        bundles.bundle_diff pages.bundles.show pages.bundles.compare pages.bundles.snapshot pages.bundle_forms.copy
        pages.bundle_forms.make_copy pages.bundle_forms.delete pages.bundle_forms.remove pages.bundle_forms.edit
        pages.bundle_forms.update pages.bundle_forms.new pages.bundle_forms.create pages.bundle_forms.restore
        pages.bundle_forms.put_back pages.bundle_forms.undo pages.bundle_forms.take_out pages.device.show
        pages.device.replace""",
    "list of bundles": "bundles.bundle_list",
    "import of bundles": "bundles.bundle_import pages.bundle_import.ask pages.bundle_import.answer",
    "table or JSON of bundles": "pages.bundles.index pages.bundles.export pages.record.export pages.past.index",
    "list of ids, owners, tags, revisions or changes": """datasets.owner_list revisions.tag_list revisions.tag_entries
        bundles.bundle_log pages.record.everything pages.record.of_bundle pages.tags.index""",
    "small request": """revisions.revision_read revisions.tag_read revisions.tag_create revisions.tag_update
        revisions.tag_delete pages.tags.edit pages.tags.update pages.tags.delete pages.tags.remove
        pages.dataset_forms.tag pages.dataset_forms.make_tag pages.session.form pages.session.check pages.session.leave
        pages.session.show pages.static description.docs description.docs_file description.openapi operation.health
        operation.ready operation.measured""",
}
#: Rows about what several endpoints do beside that, or none.
OTHER_ROWS = {
    "two texts beside each other",
    "form of a descriptor",
    "search: indexing",
    "search: reading before it answers",
    "objects that a partial clone names",
    "export, CKAN's dictionaries",
    "Markdown",
    "beginning of a file on its page",
}


def test_a_row_of_the_table_bounds_each_route() -> None:
    app = create_app(
        metastore.connect("memory:"), bundles=bundle.connect("memory:", groups=bundle.Groups.parse("groups = A"))
    )
    named = [endpoint for row in ROWS.values() for endpoint in row.split()]
    assert sorted(named) == sorted({rule.endpoint for rule in app.url_map.iter_rules()})
    text = (Path(__file__).parents[2] / "docs/explanation/security.md").read_text()
    table = text[text.index("| transformation |") :].partition("\n\n")[0]
    assert {line.split(" | ")[0][2:] for line in table.splitlines()[2:]} == ROWS.keys() | OTHER_ROWS


class Measured:
    """A service of one process whose requests are measured."""

    def __init__(self, service: Served, memory: float) -> None:
        self.service, self._most = service, memory
        (self._process,) = service.workers()

    def ask(self, *arguments: Any, **options: Any) -> Answer:
        Path(f"/proc/{self._process}/clear_refs").write_text("5")  # the peak begins at what it has now
        seconds, memory = self._seconds(), self._memory("VmRSS")
        answer = self.service.ask(*arguments, **options)
        seconds, memory = self._seconds() - seconds, self._memory("VmHWM") - memory
        what = f"{arguments[:2]}: {answer.status}, {seconds:.2f} s, {memory / 1e6:.0f} MB"
        assert answer.status in (200, 201, 400, 413, 422), what
        assert seconds <= SECONDS, what
        assert memory <= self._most, what
        return answer

    def _seconds(self) -> float:
        fields = Path(f"/proc/{self._process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _memory(self, name: str) -> int:
        lines = Path(f"/proc/{self._process}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


@contextmanager
def measured(folder: Path, most: int, memory: float) -> Iterator[Measured]:
    options = {
        "METASTORE_MAX_BYTES": str(most),
        "MALLOC_MMAP_THRESHOLD_": "65536",
    }  # so that freed memory is given back
    with served(folder, "--workers", "1", **options) as service:
        assert service.ask(f"{API}/warm", "PUT", {"name": "warm"}).status == 201
        for path in (f"{API}/warm/blame", f"{PAGES}/warm", "/datasets", "/api/v1/datasets?q=warm"):
            assert service.ask(path).status == 200, "what is loaded on first use does not count"
        assert service.ask(f"{API}/warm", "PATCH", {"version": "1"}, Content_Type=MERGE).status == 200
        yield Measured(service, memory)


def all_that_is_done_with(service: Measured, name: str, descriptor: dict[str, Any]) -> None:
    """Ask for each transformation of a descriptor that fits; what is too large for one is refused in words."""
    path, page = f"{API}/{name}", f"{PAGES}/{name}"
    made = service.ask(path, "PUT", descriptor)
    assert made.status == 201, made.body[:300]
    assert service.ask(path).status == service.ask(f"{path}/raw").status == service.ask(page).status == 200
    patched = service.ask(path, "PATCH", {"version": "1"}, Content_Type=MERGE)
    assert patched.status == 200
    change = patched.headers["ETag"].strip('"')
    operations = [{"op": "add", "path": "/licence", "value": 1}]
    assert service.ask(path, "PATCH", operations, Content_Type=PATCH).status == 200
    assert service.ask(f"{path}/diff?from={change}&to=HEAD").status == 200
    for view in ("", "&view=text", "&only=0"):
        assert service.ask(f"{page}/compare?from={change}&to=HEAD{view}").status == 200
    assert service.ask(f"{page}/compare.diff?from={change}&to=HEAD").status == 200
    assert service.ask(f"{path}/undo", "POST", {"revision": change}).status in (200, 413)
    assert service.ask(f"{path}/revert", "POST", {"to": change}).status == 200
    service.ask(f"{path}/blame")
    lists = f"{path}/revisions?summary=true", f"{page}/history?changes=1", "/api/v1/datasets?q=nothing", "/datasets"
    for each in lists:
        assert service.ask(each).status == 200


def test_a_request_for_a_descriptor_takes_memory_in_proportion_to_the_permitted_size(tmp_path: Path) -> None:
    most = MAX_BYTES // 8
    with measured(tmp_path, most, MEMORY / 8) as service:
        # Values are bounded by their number, too, so fewer of them are in proportion.
        for shape, size in (("the name of a member with an emoji", most), ("many members", most // 4)):
            all_that_is_done_with(service, shape.replace(" ", "-"), SHAPES[shape](size))


@pytest.mark.soak
@pytest.mark.parametrize("shape", SHAPES)
def test_a_request_for_a_largest_descriptor_takes_two_seconds_and_200_mb_at_most(tmp_path: Path, shape: str) -> None:
    with measured(tmp_path, MAX_BYTES, MEMORY) as service:
        all_that_is_done_with(service, "large", SHAPES[shape](MAX_BYTES))
        too_large = service.ask(f"{API}/larger", "PUT", {"title": "x" * MAX_BYTES})
        assert (too_large.status, too_large.json["kind"]) == (413, "too-large")
