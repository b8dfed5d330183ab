"""Scopes as tokens carry them, and what they allow."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metastore.auth.access import ACTIONS, ANONYMOUS, Identity, Scope, allows, parse_scopes, require, scope_needed
from metastore.errors import AuthenticationError, InvalidInput, PermissionDenied
from metastore.types import Author, DatasetId

DS1, DS2, OTHER = DatasetId("org1", "ds1"), DatasetId("org1", "ds2"), DatasetId("org2", "ds1")


def holding(*scopes: str, user: str | None = "ann", default_owner: str | None = None) -> Identity:
    return Identity(user, scopes=parse_scopes(" ".join(scopes), default_owner))


def allowed(identity: Identity, dataset_id: DatasetId) -> set[str]:
    return {action for action in ACTIONS if allows(identity, action, dataset_id)}


#: What CKAN grants an editor of org1, what that allows on org1/ds1, on another dataset of org1, and elsewhere.
EDITOR = [
    ("ds:org1/ds1:delete,patch,read,update", {"delete", "update", "read", "list"}, set(), set()),
    ("ds:org1/ds1:metadata:read,update", {"read", "list", "update"}, set(), set()),
    ("ds:org1/ds1:data:read,update", set(), set(), set()),
    ("ds:ds1:metadata:update", set(), set(), set()),
    ("ds:org1/*:create,list,read", {"create", "list", "read"}, {"create", "list", "read"}, set()),
    ("ds:org1/:create,list", {"create"}, {"create"}, set()),
    ("ds:org1/ds1:patch", {"update"}, set(), set()),
    ("ds:org1/*:create,d,e,l,list,patch,read,t,update", *[{"create", "list", "read", "update"}] * 2, set()),
    ("", set(), set(), set()),
]


@pytest.mark.parametrize(("scope", "here", "beside", "elsewhere"), EDITOR, ids=[row[0] or "nothing" for row in EDITOR])
def test_each_grant_of_ckan_allows_this_and_no_more(
    scope: str, here: set[str], beside: set[str], elsewhere: set[str]
) -> None:
    identity = holding(scope)
    assert [allowed(identity, each) for each in (DS1, DS2, OTHER)] == [here, beside, elsewhere]


def test_an_id_without_owner_is_the_default_owners() -> None:
    identity = holding("ds:ds1:metadata:update", default_owner="org1")
    assert allowed(identity, DS1) == {"update"}
    assert allowed(identity, OTHER) == set()


@pytest.mark.parametrize("scope", ["ds:org1/ds1:create", "ds:ds1:create", "ds:org1/ds1", "ds:org1/ds1:*"])
def test_a_scope_on_one_dataset_never_creates(scope: str) -> None:
    assert not allows(holding(scope, default_owner="org1"), "create", DS1)


@pytest.mark.parametrize("scope", ["ds:org1/*:create", "ds:org1/:create", "ds:*:create", "ds::create", "ds:*", "ds"])
def test_create_is_granted_on_all_datasets_of_an_owner(scope: str) -> None:
    assert allows(holding(scope), "create", DS1)


@pytest.mark.parametrize("scope", ["ds", "ds:", "ds:*", "ds:*:*", "ds:*:*:*", "ds:::*", "ds:org1/ds1", "ds:org1/*:*"])
def test_any_action_is_not_import(scope: str) -> None:
    assert allowed(holding(scope), DS1) >= {"read", "list", "update", "delete", "purge"}
    assert not allows(holding(scope), "import", DS1)


@pytest.mark.parametrize("scope", ["ds:org1/*:import", "ds:org1/ds1:update,import", "ds:org1/ds1:metadata:import"])
def test_import_is_granted_where_it_is_named(scope: str) -> None:
    assert allows(holding(scope), "import", DS1)


IGNORED = [
    *("ds:org1/ds1:", "ds:org1/ds1:,", "ds:org1/ds1:metadata:", "ds:org1/ds1:*:", "ds:org1/ds1::"),
    *("ds:org1/ds1:metadata:read:x", "ds:org1/ds1:::read", "ds:org1/ds1:metadata", "ds:org1/ds1:Read"),
    *(
        "ds:org1/ds1:data:read",
        "ds:org1/ds1:Metadata:read",
        "ds:org1/ds1:fly",
        "DS:org1/ds1:read",
        "*",
        ":",
        "*:*:read",
    ),
    *("org:org1:read", "ds:ds1:read", "ds:/ds1:read", "ds:*/ds1:read", "ds:*/*:read", "ds:/:read", "ds:org1/a/b:read"),
    *("ds:org1/ds*:read", "ds:ORG1/*:read", "ds:../*:read", "ds:org1/ds1:read\n", "ds:org1/ds1:re\tad", "\ud800"),
]


@pytest.mark.parametrize("scope", IGNORED)
def test_a_scope_that_is_not_understood_grants_nothing(scope: str) -> None:
    assert parse_scopes(scope) == ()
    assert parse_scopes([scope]) == ()


def test_scopes_come_as_one_text_or_as_a_list() -> None:
    both = (Scope("org1", "ds1", frozenset({"read"})), Scope("org2", None, frozenset({"list"})))
    assert parse_scopes("ds:org1/ds1:read  ds:org2/*:list ") == both
    assert parse_scopes(["ds:org1/ds1:read", "ds:org2/*:list"]) == both


def test_a_space_inside_of_a_listed_scope_does_not_cut_it_in_two() -> None:
    assert parse_scopes(["ds: org1/ds1:read"]) == ()


@pytest.mark.parametrize("claim", [None, 1, True, {"ds": 1}, b"ds", [1, None, ["ds"]], object()])
def test_a_claim_of_another_shape_grants_nothing(claim: object) -> None:
    assert parse_scopes(claim) == ()


def test_who_has_no_name_may_only_read() -> None:
    assert allowed(holding("ds", "ds:*:import", user=None), DS1) == {"read", "list"}


def test_no_token_reaches_what_is_the_stores_own() -> None:
    identity = holding("ds", "ds:_metastore/*:read,update,import", "ds:_metastore/journal")
    assert allowed(identity, DatasetId("_metastore", "journal")) == set()


def test_an_action_that_there_is_not_is_a_mistake() -> None:
    with pytest.raises(ValueError):
        allows(holding("ds"), "patch", DS1)


@pytest.mark.parametrize("action", ACTIONS)
def test_the_scope_that_is_needed_is_one_that_suffices(action: str) -> None:
    assert allows(holding(scope_needed(action, DS1)), action, DS1)
    assert not allows(holding(scope_needed(action, OTHER)), action, DS1)


def test_require_asks_for_a_token_and_then_for_a_better_one() -> None:
    with pytest.raises(AuthenticationError) as nobody:
        require(ANONYMOUS, "update", DS1)
    assert nobody.value.missing
    with pytest.raises(PermissionDenied, match="does not grant update on org1/ds1") as denied:
        require(holding("ds:org1/*:create,list,read"), "update", DS1)
    assert denied.value.scope == "ds:org1/ds1:metadata:update"
    with pytest.raises(PermissionDenied, match="names no user"):
        require(holding("ds", user=None), "update", DS1)
    require(holding("ds:org1/ds1:update"), "update", DS1)


def test_a_token_that_says_nothing_is_still_a_token() -> None:
    with pytest.raises(PermissionDenied):
        require(Identity(), "read", DS1)


def test_the_author_is_the_name_else_the_user() -> None:
    assert Identity("ann", "Ann Lee", "ann@example.org").author == Author("Ann Lee", "ann@example.org")
    assert Identity("ann").author == Author("ann")
    assert Identity("ann", "<>", "ann@example.org").author == Author("ann", "ann@example.org")
    with pytest.raises(InvalidInput, match="no user"):
        _ = Identity(None, "").author


# Any text at all

_TARGETS = st.sampled_from(
    ["org1/ds1", "org1/ds2", "org2/ds1", "org1/*", "org1/", "*", "", "ds1", "/", "org1", "*/ds1"]
)
_ACTIONS = st.one_of(
    st.sampled_from(["*", "", ",", "read,*", "delete,patch,read,update"]),
    st.lists(st.sampled_from([*ACTIONS, "patch", "fly", "", "*"]), max_size=4).map(",".join),
)
_PART = st.one_of(_TARGETS, _ACTIONS, st.sampled_from(["metadata", "data", "ds", "x"]), st.text(max_size=5))
_SCOPES = st.one_of(
    st.tuples(st.sampled_from(["ds", "ds", "ds", "", "*", "org"]), _TARGETS, _ACTIONS).map(":".join),
    st.tuples(st.just("ds"), _TARGETS, st.sampled_from(["metadata", "*", "", "data"]), _ACTIONS).map(":".join),
    st.lists(_PART, max_size=6).map(":".join),
    st.lists(_PART, max_size=5).map(lambda parts: ":".join(["ds", *parts])),
    st.text(max_size=40),
)
_ALL = ("read", "list", "create", "update", "delete", "purge")


def reads_as(text: str, default_owner: str | None) -> dict[DatasetId, set[str]]:
    """Read one scope another way: by a pattern for each form that counts."""
    listed = r"(?P<actions>[^:]*)"
    form = re.fullmatch(rf"ds(:(?P<id>[^:]*)(:((metadata|\*|):)?{listed})?)?", text)
    if not form:
        return {each: set() for each in (DS1, DS2, OTHER)}
    words = _ALL if form["actions"] in (None, "*") else form["actions"].split(",")
    granted = {word for word in words if word in ACTIONS and word != "list"} | ({"update"} & {*words})
    granted |= {"update"} if "patch" in words else set()
    granted |= {"list"} if "read" in granted else set()
    target = form["id"] or "*"
    found = {}
    for each in (DS1, DS2, OTHER):
        whole = target in ("*", f"{each.owner}/*", f"{each.owner}/")
        one = target == str(each) or (target == each.name and each.owner == default_owner)
        found[each] = granted if whole else granted - {"create"} if one else set()
    return found


@given(_SCOPES, st.sampled_from([None, "org1"]))
def test_a_scope_grants_exactly_what_its_text_says(text: str, default_owner: str | None) -> None:
    identity = Identity("ann", scopes=parse_scopes([text], default_owner))
    assert {each: allowed(identity, each) for each in (DS1, DS2, OTHER)} == reads_as(text, default_owner)


@given(st.lists(_SCOPES.filter(lambda text: " " not in text), max_size=4))
def test_scopes_together_grant_what_each_of_them_does(texts: list[str]) -> None:
    alone = {action for text in texts for action in allowed(Identity("ann", scopes=parse_scopes([text])), DS1)}
    for claim in (texts, " ".join(texts)):
        assert allowed(Identity("ann", scopes=parse_scopes(claim)), DS1) == alone


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text() | st.binary(), st.lists))
def test_no_claim_makes_parsing_fail(claim: object) -> None:
    assert isinstance(parse_scopes(claim), tuple)
    assert isinstance(parse_scopes(claim, "org1"), tuple)
