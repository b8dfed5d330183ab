"""Grades and summaries: what a difference means to those who use the data, on real histories and rule by rule."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import pytest

import metastore
from metastore import InvalidInput, MetaStore
from metastore.descriptor.difference import changes
from metastore.descriptor.grade import Grades, claimed, default, next_version
from metastore.descriptor.summary import summary

from .conftest import ANN

DATA = Path(__file__).parent / "data" / "grades"
CARS = "physics/cars"


@pytest.mark.parametrize(("pairs", "at_least", "agree"), [("labels", 230, 0.96), ("held-out", 91, 0.95)])
def test_grades_agree_with_a_person_on_real_histories(pairs: str, at_least: int, agree: float) -> None:
    name = {"labels": "descriptors.json.xz"}.get(pairs, f"{pairs}.json.xz")
    descriptors = json.loads(lzma.decompress((DATA / name).read_bytes()))
    wrong = []
    lines = (DATA / f"{pairs}.tsv").read_text().splitlines()
    for line in lines:
        label, repository, old, new = line.split("\t")
        grade = default().grade(changes(descriptors[repository][old], descriptors[repository][new])) or "none"
        if grade != label:
            wrong.append((repository, old, new, label, grade))
    assert len(lines) >= at_least
    assert len(wrong) <= len(lines) * (1 - agree), wrong


FIELD = {"name": "n", "type": "integer", "constraints": {"minimum": 1, "required": True, "enum": ["a", "b"]}}
SCHEMA = {"fields": [FIELD, {"name": "t", "type": "string"}], "primaryKey": "n"}
START = {
    "name": "x",
    "licenses": [{"name": "CC-BY-4.0", "path": "LICENSE"}],
    "keywords": ["k"],
    "resources": [{"name": "r", "path": "r.csv", "schema": SCHEMA}, {"name": "s", "path": "s.csv"}],
}


def edited(edit: Any) -> Any:
    copy = json.loads(json.dumps(START))
    edit(copy)
    return copy


def first_field(descriptor: Any) -> Any:
    return descriptor["resources"][0]["schema"]["fields"][0]


@pytest.mark.parametrize(
    ("edit", "grade", "said"),
    [
        (lambda d: None, "", ""),
        (lambda d: d.update(title="T"), "patch", "title added"),
        (lambda d: d.update(version="2"), "", "version added"),
        (lambda d: d["keywords"].append("new"), "patch", "keyword added"),
        (lambda d: d.update(name="y"), "major", "name changed"),
        (lambda d: d["resources"].pop(), "major", "1 resource removed"),
        (lambda d: d["resources"].append({"name": "new", "path": "n.csv"}), "minor", "1 resource added"),
        (lambda d: d["resources"][1].update(name="z"), "major", "1 resource renamed"),
        (lambda d: d["resources"][1].update(title="T"), "patch", "title added in s"),
        (lambda d: d["resources"][1].update(bytes=7), "patch", "bytes added in s"),
        (lambda d: first_field(d).update(type="number"), "minor", "1 field changed in r"),
        (lambda d: first_field(d).update(type="year"), "major", "1 field changed in r"),
        (lambda d: first_field(d).update(title="N"), "patch", "1 field changed in r"),
        (lambda d: first_field(d).update(format="default"), "patch", "1 field changed in r"),
        (lambda d: first_field(d).update(format="%d/%m/%Y"), "major", "1 field changed in r"),
        (lambda d: first_field(d).update(name="N"), "major", "1 field renamed in r"),
        (lambda d: first_field(d)["constraints"].update(minimum=0), "minor", "1 field changed in r"),
        (lambda d: first_field(d)["constraints"].update(minimum=2), "major", "1 field changed in r"),
        (lambda d: first_field(d)["constraints"].update(maximum=2), "major", "1 field changed in r"),
        (lambda d: first_field(d)["constraints"].update(required=False), "minor", "1 field changed in r"),
        (lambda d: first_field(d)["constraints"]["enum"].append("c"), "minor", "1 field changed in r"),
        (lambda d: first_field(d)["constraints"]["enum"].pop(), "major", "1 field changed in r"),
        (lambda d: first_field(d).pop("constraints"), "minor", "1 field changed in r"),
        (lambda d: d["resources"][0]["schema"]["fields"].pop(), "major", "1 field removed in r"),
        (lambda d: d["resources"][0]["schema"]["fields"].reverse(), "major", "1 field moved in r"),
        (lambda d: d["resources"].reverse(), "patch", "1 resource moved"),
        (
            lambda d: d["resources"][1].update(licenses=d.pop("licenses")),
            "major",
            "licenses added in s; licenses removed",
        ),
        (
            lambda d: [r.update(licenses=d["licenses"]) for r in d["resources"]] and d.pop("licenses"),
            "minor",
            "licenses moved",
        ),
        (lambda d: d.update(license=d.pop("licenses")[0]["name"]), "patch", "licenses renamed; licence changed"),
        (lambda d: d.update(license="CC-BY-NC-4.0") or d.pop("licenses"), "major", "licenses renamed; licence changed"),
        (
            lambda d: first_field(d).update(title="N") or d["resources"][0].update(path="x"),
            "minor",
            "1 field changed, path changed in r",
        ),
        (lambda d: d["resources"][0]["schema"]["fields"].append({"name": "z"}), "minor", "1 field added in r"),
        (lambda d: d["resources"][0]["schema"].update(primaryKey="t"), "major", "primaryKey changed in r"),
        (lambda d: d["resources"][0]["schema"].update(primaryKey=["n"]), "patch", "primaryKey changed in r"),
        (lambda d: d["licenses"][0].pop("name"), "major", "licence changed"),
        (lambda d: d["licenses"][0].update(name="CC0-1.0"), "minor", "licence changed"),
        (lambda d: d["licenses"][0].update(name="CC BY 4.0"), "patch", "licence changed"),
        (lambda d: d["licenses"][0].update(name="CC-BY-NC-4.0"), "major", "licence changed"),
        (lambda d: d.pop("licenses"), "major", "licenses removed"),
        (lambda d: d.update(keyword=d.pop("keywords"), title="T"), "patch", "keywords renamed; title added"),
        (lambda d: first_field(d).update(rules=first_field(d).pop("constraints")), "major", "1 field changed in r"),
    ],
)
def test_each_kind_of_change_has_its_grade_and_summary(edit: Any, grade: str, said: str) -> None:
    differences = changes(START, edited(edit))
    assert default().grade(differences) == grade, differences
    assert summary(differences) == said


def test_a_member_that_only_ckan_has_is_called_by_its_own_name() -> None:
    def package(spatial: str, **more: Any) -> dict[str, Any]:
        resource = {"name": "r", "path": "r.csv", "ckan": {"state": spatial}}
        return {"resources": [resource], "ckan": {"extras": {"spatial": spatial, **more}, "private": spatial == "here"}}

    said = summary(changes(package("here"), package("there", period="2026")))
    assert said == "state changed in r; spatial and private changed; period added"
    assert summary(changes({}, {"ckan": {"extras": {"a": "b"}}})) == "ckan added"


def test_a_constraint_that_another_field_has_now_counts_as_added_there() -> None:
    def table(required: str) -> dict[str, Any]:
        constraints = {"constraints": {"required": True}}
        fields = [{"name": name, "type": "string", **(constraints if name == required else {})} for name in ("id", "n")]
        return {"resources": [{"name": "a", "path": "a.csv", "schema": {"fields": fields}}]}

    differences = changes(table("n"), table("id"))
    assert sorted(each.kind for each in differences) == ["added", "removed"]
    assert default().grade(differences) == "major"


def test_a_field_that_moved_to_another_table_breaks_what_reads_it() -> None:
    old, new = (
        {"resources": [{"name": "r", "schema": {"fields": r}}, {"name": "s", "schema": {"fields": s}}]}
        for r, s in (([FIELD, {"name": "a"}], [{"name": "b"}]), ([{"name": "a"}], [{"name": "b"}, FIELD]))
    )
    assert [each.kind for each in changes(old, new)] == ["moved"]
    assert default().grade(changes(old, new)) == "major"


@pytest.mark.parametrize(
    ("old", "new", "grade"),
    [
        ({"unit": "km/h"}, {"unit": "mph"}, "major"),
        ({"unitCode": "KMH"}, {"unitCode": "HM"}, "major"),
        ({"unit": "mW"}, {"unit": "MW"}, "major"),
        ({}, {"unit": "km/h"}, "minor"),
        ({"unit": "km/h"}, {}, "minor"),
        (
            {"categories": [{"value": 1, "label": "active"}]},
            {"categories": [{"value": 1, "label": "Active "}]},
            "patch",
        ),
        ({"categories": [{"value": 1, "label": "Actve"}]}, {"categories": [{"value": 1, "label": "Active"}]}, "major"),
        (
            {"categories": [{"value": 1, "label": "Active"}]},
            {"categories": [{"value": 1, "label": "Inactive"}]},
            "major",
        ),
        ({"categories": [{"value": 1, "label": "+"}]}, {"categories": [{"value": 1, "label": "-"}]}, "major"),
    ],
)
def test_what_the_values_of_a_field_mean_is_graded_by_units_and_labels(old: Any, new: Any, grade: str) -> None:
    before, after = ({"resources": [{"name": "r", "schema": {"fields": [{"name": "f"} | d]}}]} for d in (old, new))
    assert default().grade(changes(before, after)) == grade


@pytest.mark.parametrize(
    ("old", "new", "grade"),
    [
        ("Creative Commons Attribution 4.0", "CC0-1.0", "minor"),
        ("Creative Commons Attribution 4.0", "CC-BY-4.0", "patch"),
        ("Creative Commons Zero", "Creative Commons Attribution Share-Alike 4.0", "major"),
        ("Creative Commons Attribution", "Creative Commons Attribution Non-Commercial", "major"),
        ("Creative Commons Attribution", "Creative Commons Attribution NoDerivatives", "major"),
    ],
)
def test_a_licence_is_known_by_its_title_too(old: str, new: str, grade: str) -> None:
    assert default().grade(changes({"licenses": [{"title": old}]}, {"licenses": [{"title": new}]})) == grade


@pytest.mark.parametrize(
    ("old", "new", "grade"),
    [
        ({"schema": "https://example.org/1.0/birds.json"}, {"schema": "https://example.org/1.1/birds.json"}, "major"),
        ({"schema": "birds.json"}, {"schema": {"fields": [{"name": "bird"}]}}, "minor"),
        ({}, {"format": "csv", "mediatype": "text/csv", "encoding": "utf-8"}, "patch"),
        ({"encoding": "utf-8"}, {}, "patch"),
        ({}, {"encoding": "latin-1"}, "minor"),
        ({"format": "csv"}, {"format": "json"}, "minor"),
        ({"schema": {}}, {"schema": {"missingValues": [""]}}, "patch"),
        ({"schema": {}}, {"schema": {"missingValues": ["-"]}}, "minor"),
    ],
)
def test_what_is_stated_for_the_first_time_breaks_nothing_and_another_schema_may(
    old: Any, new: Any, grade: str
) -> None:
    before, after = ({"resources": [{"name": "birds", "path": "birds.csv", **more}]} for more in (old, new))
    assert default().grade(changes(before, after)) == grade


@pytest.mark.parametrize(
    ("old", "new", "grade"),
    [
        ("yyyy-mm-dd", None, "patch"),
        ("%Y-%m-%d", "default", "patch"),
        ("yyyy", "%Y", "patch"),
        ("DD/MM/YYYY", "%d/%m/%Y", "patch"),
        (None, "hh:mm:ss", "patch"),
        ("yyyy-mm-ddThh:mm:ssZ", "%Y-%m-%dT%H:%M:%SZ", "patch"),
        ("%d/%m/%Y", "%m/%d/%Y", "major"),
        ("%Y-%m-%d", "%H:%M:%S", "major"),
        ("%Y", None, "major"),
        ("email", None, "major"),
    ],
)
def test_a_format_of_dates_that_is_spelled_otherwise_changes_no_value(
    old: str | None, new: str | None, grade: str
) -> None:
    before, after = (
        {"resources": [{"name": "r", "schema": {"fields": [{"name": "day"} | ({"format": each} if each else {})]}}]}
        for each in (old, new)
    )
    assert default().grade(changes(before, after)) == grade


@pytest.mark.parametrize("member", ["bytes", "hash", "count_of_rows"])
def test_new_data_are_a_minor_change_of_a_whole_package(member: str) -> None:
    assert default().grade(changes({member: 1}, {member: 2})) == "minor"
    assert default().grade(changes({}, {member: 2})) == "patch"


@pytest.mark.parametrize(
    ("version", "grade", "following"),
    [
        ("1.2.3", "patch", "1.2.4"),
        ("1.2.3", "minor", "1.3.0"),
        ("1.2.3", "major", "2.0.0"),
        ("1.2", "major", None),
        (1.2, "major", None),
        ("1.2.3", "", None),
    ],
)
def test_the_next_version_follows_from_the_grade(version: Any, grade: str, following: str | None) -> None:
    assert next_version(version, grade) == following
    assert following is None or claimed(version, following) == grade


def test_a_version_that_claims_less_than_what_changed_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    strict = metastore.connect("memory:", author=ANN, version_rule="refuse")
    strict.dataset_create(CARS, {**START, "version": "1.0.0"})
    with pytest.raises(InvalidInput, match=r"major change, so the version after 1\.0\.0 is 2\.0\.0"):
        strict.dataset_update(CARS, {**START, "version": "1.1.0", "resources": []})
    strict.dataset_update(CARS, {**START, "version": "2.0.0", "resources": []})
    lenient = metastore.connect("memory:", author=ANN, version_rule="warn")
    lenient.dataset_create(CARS, {**START, "version": "1.0.0"})
    lenient.dataset_patch(CARS, {"title": "T"})
    assert "patch change, so the version after 1.0.0 is 1.0.1" in caplog.text
    for rule in ("never", None):
        with pytest.raises(InvalidInput, match="off, warn or refuse"):
            metastore.connect("memory:", version_rule=rule)


def test_a_deployment_has_its_own_rules(tmp_path: Path) -> None:
    rules = tmp_path / "rules.json"
    rules.write_text('[{"grade": "major", "kinds": ["added"], "place": "title"}]')
    store = metastore.connect("memory:", author=ANN, grades=rules)
    store.dataset_create(CARS, {"version": "1.0.0"})
    store.dataset_patch(CARS, {"title": "T"})
    diff = store.revision_diff(CARS, "HEAD~1")
    assert (diff.grade, diff.version, diff.summary) == ("major", "2.0.0", "title added")
    for text in ("{}", "[1]", "no", '[{"grade": "huge", "kinds": ["added"], "place": "title"}]'):
        rules.write_text(text)
        with pytest.raises(InvalidInput, match="rules for grades"):
            Grades.load(rules)


def test_a_diff_says_its_summary_grade_and_version_in_every_store(store: MetaStore) -> None:
    store.dataset_create(CARS, {"version": "1.0.0", "resources": []})
    store.dataset_update(CARS, {"version": "1.0.0", "resources": [{"name": "a", "path": "a.csv"}]})
    diff = store.revision_diff(CARS, "HEAD~1")
    assert (diff.summary, diff.grade, diff.version) == ("1 resource added", "minor", "1.1.0")


@pytest.mark.parametrize(("fields", "grade"), [(["t"], "patch"), (["n"], "major"), (["t", "n"], "major")])
@pytest.mark.parametrize("of_reference", [False, True])
def test_a_foreign_key_that_is_only_written_otherwise_is_a_patch(
    fields: list[str], grade: str, *, of_reference: bool
) -> None:
    def with_key(own: Any, referred: Any) -> Any:
        keys = [{"fields": own, "reference": {"resource": "s", "fields": referred}}]
        return edited(lambda d: d["resources"][0]["schema"].update(foreignKeys=keys))

    new = with_key("t", fields) if of_reference else with_key(fields, "t")
    assert default().grade(changes(with_key("t", "t"), new)) == grade
