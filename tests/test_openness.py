"""Which descriptors are under open licences."""

from __future__ import annotations

from typing import Any

import pytest

from metastore.descriptor.openness import openness

CC_BY, BY_NC = {"name": "CC-BY-4.0"}, {"name": "CC-BY-NC-4.0"}


@pytest.mark.parametrize(
    "licence",
    [
        *({"name": name} for name in ("CC0-1.0", "odc-odbl", "ODC-PDDL-1.0", "GPL-3.0-or-later", "mit", "other-pd")),
        *({"name": name} for name in ("CC-BY-3.0", "cc-by-sa-2.0-uk", "cc-by", "CC BY 4.0")),
        {"path": "https://creativecommons.org/licenses/by-sa/3.0/deed.de"},
        {"name": "Ours", "path": "http://www.opendatacommons.org/licenses/odbl"},
        {"title": "CC BY 4.0"},
        {"type": "odc-by", "url": "http://opendefinition.org/licenses/odc-by"},
        "CC0-1.0",
    ],
)
def test_a_licence_of_the_list_is_open_by_its_id_its_older_ones_or_its_address(licence: Any) -> None:
    assert openness({"licenses": [licence]}) == openness({"license": licence}) == "open"


@pytest.mark.parametrize(
    "licence",
    [
        *({"name": name} for name in ("CC-BY-NC-4.0", "cc-by-nd-4.0", "CC-BY-NC-SA-3.0-DE", "other-closed", "x" * 300)),
        {"path": "https://creativecommons.org/licenses/by-nc/4.0/"},
        {"path": f"https://creativecommons.org/licenses/by/4.0/{'x' * 200}"},
        {"path": "https://example.org/?creativecommons.org/licenses/by/4.0/"},
        {"name": 5, "title": ["CC-BY-4.0"]},
    ],
)
def test_any_other_licence_is_not_open(licence: Any) -> None:
    assert openness({"licenses": [CC_BY, licence]}) == "not-open"


@pytest.mark.parametrize(
    ("descriptor", "expected"),
    [
        ({}, "none"),
        ({"licenses": [{}], "license": " ", "resources": 5}, "none"),
        ({"resources": [{"licenses": [CC_BY]}, {}]}, "none"),
        ({"resources": [{"licenses": [CC_BY]}, {"licenses": [BY_NC]}, {}]}, "not-open"),
        ({"resources": [{"licenses": [CC_BY]}, "x"]}, "open"),
        ({"licenses": [CC_BY], "resources": [{}, {"licenses": [{"name": "CC0-1.0"}]}]}, "open"),
        ({"licenses": [CC_BY], "resources": [{}, {"licenses": [BY_NC]}]}, "not-open"),
    ],
)
def test_the_licences_of_a_dataset_hold_for_resources_without_any(descriptor: dict[str, Any], expected: str) -> None:
    assert openness(descriptor) == expected
