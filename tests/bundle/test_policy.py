"""Who may change what: the groups file, and the whole truth table on every record."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from metastore import bundle
from metastore.auth.access import parse_bundle_scopes
from metastore.bundle import BundleRegistry, Groups
from metastore.bundle.port import BundleRecord
from metastore.bundle.versioned import VersionedRecord
from metastore.errors import InvalidInput, PermissionDenied
from metastore.storage.memory import MemoryStorage

from ..conftest import ticking
from ..processes import SOAK
from .conftest import GROUPS, numi

# The groups file

#: The shape that is in use, with invented people.
FILE = "groups = Minerva NOvA, MINOS\nMinerva = vera\nNOvA = vera pia\nMINOS = pia\nroot = sam ivo\n"


def test_a_groups_file_needs_no_section_and_mixes_spaces_and_commas() -> None:
    now = Groups.parse(FILE).current()
    assert now.groups == ("Minerva", "NOvA", "MINOS")
    assert now.admins == {"Minerva": {"vera"}, "NOvA": {"vera", "pia"}, "MINOS": {"pia"}}
    assert now.superusers == {"sam", "ivo"}


@pytest.mark.parametrize("names", ["a b,c", "a,b,c", "a, b ,c", " a  b\tc ", ",a,,b c,", "a b c b"])
def test_names_are_separated_by_spaces_and_commas_in_any_mixture(names: str) -> None:
    assert Groups.parse(f"groups={names}").current().groups == ("a", "b", "c")


def test_case_is_kept() -> None:
    groups = Groups.parse("groups = NOvA nova\nNOvA = Ann\nnova = ann")
    assert (groups.of("Ann"), groups.of("ann"), groups.of("ANN")) == (("NOvA",), ("nova",), ())


def test_a_group_may_have_no_line_and_a_line_no_names() -> None:
    now = Groups.parse("groups = A B\nA =\n").current()
    assert now.admins == {"A": set(), "B": set()}
    assert now.superusers == set()


def test_root_is_no_group_even_where_it_is_listed_as_one() -> None:
    groups = Groups.parse("groups = A root\nroot = sam\nA = ann")
    assert groups.current().groups == ("A",)
    assert groups.of("sam") == ("A", "root")
    assert groups.of("ann") == ("A",)
    assert groups.of(None) == groups.of("nobody") == ()


def test_a_line_of_an_unlisted_group_makes_nobody_an_admin() -> None:
    assert Groups.parse("groups = A\nOther = eve").of("eve") == ()


def test_comments_blank_lines_and_line_ends_of_windows_are_passed_over() -> None:
    assert Groups.parse("# Who\r\n\r\ngroups = A\r\nA = ann\r\n").of("ann") == ("A",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "lacks the line 'groups = …'"),
        ("Groups = A", "lacks the line 'groups = …'"),
        ("groups = A\nA ann", "line 2 of the groups file is not 'name = names'"),
        ("[groups]\ngroups = A", "line 1"),
        ("groups = A\n= ann", "line 2"),
        ("groups = A\nA B = ann", "line 2"),
        ("groups = A\nA = ann\nA = bo", "line 3 of the groups file repeats 'A'"),
    ],
)
def test_a_broken_groups_file_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Groups.parse(text)
    assert said in str(caught.value)


def test_a_groups_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(InvalidInput, match="cannot be read"):
            Groups.load(path)


def test_a_groups_file_is_utf_8_in_every_locale(tmp_path: Path) -> None:
    (tmp_path / "groups").write_bytes("groups = A\nA = jörg".encode())
    assert Groups.load(tmp_path / "groups").of("jörg") == ("A",)
    (tmp_path / "groups").write_bytes(b"groups = A\nA = j\xf6rg")
    with pytest.raises(InvalidInput, match="cannot be read"):
        Groups.load(tmp_path / "groups")


def rewrite(path: Path, text: str) -> None:
    """Replace a file as editors do."""
    path.with_suffix(".new").write_text(text)
    os.replace(path.with_suffix(".new"), path)


def test_a_changed_file_is_read_again_at_the_next_change(tmp_path: Path) -> None:
    path = tmp_path / "groups"
    path.write_text(GROUPS)
    with bundle.connect("memory:", groups=path) as registry:
        registry.bundle_create(numi(), user="ann")
        rewrite(path, GROUPS.replace("ann", "eve"))
        registry.bundle_update("NuMI", {"udp": True}, user="eve")
        with pytest.raises(PermissionDenied, match="ann is not an admin of NOvA"):
            registry.bundle_delete("NuMI", user="ann")


BROKEN = ["A ann", "", "groups = A\nA = j\udcf6rg", None]


@pytest.mark.parametrize("broken", BROKEN)
def test_while_the_file_is_broken_nobody_changes_a_bundle(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, broken: str | None
) -> None:
    path = tmp_path / "groups"
    path.write_text(GROUPS)
    with bundle.connect("memory:", groups=path) as registry:
        registry.bundle_create(numi(), user="ann")
        if broken is None:
            path.unlink()
        else:
            path.write_bytes(broken.encode(errors="surrogateescape"))
        with caplog.at_level(logging.WARNING, "metastore.bundle"):
            for user in ("ann", "ruth"):
                with pytest.raises(PermissionDenied, match="the groups file cannot be read now"):
                    registry.bundle_update("NuMI", {"udp": True}, user=user)
                assert registry.groups.of(user) == ()
        assert caplog.text.count("until the groups file is mended") == 1
        assert registry.bundle_read("NuMI").devices
        rewrite(path, GROUPS)
        assert registry.bundle_update("NuMI", {"udp": True}, user="ann").udp


def test_two_processes_agree_after_a_file_broke_that_only_one_had_read(tmp_path: Path) -> None:
    path = tmp_path / "groups"
    path.write_text(GROUPS)
    first, second = Groups.load(path), Groups.load(path)
    rewrite(path, GROUPS.replace("ann,", ""))
    assert first.of("ann") == ()
    rewrite(path, "broken")
    assert (first.of("ann"), second.of("ann")) == ((), ())


def test_a_change_of_the_same_length_in_the_same_moment_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "groups"
    path.write_text("groups = A\nA = ann\n")
    status = path.stat()
    groups = Groups.load(path)
    for user in ("eve", "bob", "ann", "eve"):
        with path.open("r+") as file:
            file.write(f"groups = A\nA = {user}\n")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert groups.of(user) == ("A",)


def test_a_change_while_the_file_is_being_loaded_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "groups"
    path.write_text(GROUPS)
    from metastore.bundle import policy

    def parse_and_change(text: str, parse: Callable[[str], Any] = policy.parse_groups) -> Any:
        membership = parse(text)
        rewrite(path, "groups = B\nB = ann")
        return membership

    with monkeypatch.context() as patch:
        patch.setattr(policy, "parse_groups", parse_and_change)
        groups = Groups.load(path)
    assert groups.of("ann") == ("B",)


# The truth table: user x group x collectable before x collectable after x verb

USERS = {"nobody": None, "stranger": "eve", "admin": "ann", "admin of another": "cy", "superuser": "ruth"}
OWNERS = {"own": "NOvA", "other": "Minerva", "root": "root"}
VERBS = (
    "create",
    "create again",
    "update",
    "delete",
    "copy",
    "restore",
    "undo",
    "import",
    "import new",
    "import again",
)


class Case(NamedTuple):
    user: str
    owner: str
    before: bool
    after: bool
    verb: str


def sensible(case: Case) -> bool:
    """Tell whether a case is one: some verbs know no state before, some cannot alter it."""
    if case.verb in ("create", "import new"):
        return not case.before
    return case.verb not in ("delete", "copy") or case.before == case.after


CASES = [
    case
    for case in (Case(*each) for each in itertools.product(USERS, OWNERS, (False, True), (False, True), VERBS))
    if sensible(case)
]


def allowed(case: Case) -> bool:
    """Say what the requirement says, in its own words and without the library's help."""
    if case.user in ("nobody", "stranger"):
        return False
    if case.user == "superuser":
        return True
    owner_of_user = {"admin": "own", "admin of another": "other"}[case.user]
    touches_collectable = case.before or case.after
    return case.owner == owner_of_user and not touches_collectable


def prepare(registry: BundleRegistry, case: Case, name: str) -> Callable[[BundleRegistry, str | None], object]:
    """Bring a bundle about by a superuser; return what the user then tries."""
    group = OWNERS[case.owner]
    before, after = (numi(name=name, ifb_group=group, writable=flag, udp=flag) for flag in (case.before, case.after))
    changes = {"writable": case.after, "udp": case.after, "hosts": ["h2"]}
    create, update = registry.bundle_create, registry.bundle_update
    if case.verb == "create":
        return lambda mine, user: mine.bundle_create(after, user=user)
    if case.verb == "import new":
        return lambda mine, user: import_(mine, after, user)
    if case.verb in ("restore", "undo"):
        old = create(after, user="ruth").snapshot or 0
        change = update(name, {"writable": case.before, "udp": case.before, "hosts": ["h1"]}, user="ruth").snapshot or 0
        if case.verb == "undo":
            return lambda mine, user: mine.bundle_undo(name, change, user=user)
        return lambda mine, user: mine.bundle_restore(name, old, user=user)
    create(before, user="ruth")
    if case.verb.endswith("again"):
        registry.bundle_delete(name, user="ruth")
    return {
        "update": lambda mine, user: mine.bundle_update(name, changes, user=user),
        "delete": lambda mine, user: mine.bundle_delete(name, user=user),
        "copy": lambda mine, user: mine.bundle_copy(name, f"{name}_copy", user=user),
        "create again": lambda mine, user: mine.bundle_create(after, user=user),
        "import": lambda mine, user: import_(mine, {**after, "hosts": ["h2"]}, user),
        "import again": lambda mine, user: import_(mine, after, user),
    }[case.verb]


def import_(registry: BundleRegistry, row: dict[str, Any], user: str | None) -> object:
    return registry.bundle_import([row], user=user)


def state(registry: BundleRegistry) -> object:
    return list(registry.bundle_list()), list(registry.bundle_log())


def in_memory(record: BundleRecord) -> bool:
    return isinstance(record, VersionedRecord) and isinstance(record._storage, MemoryStorage)


@pytest.mark.parametrize("verb", VERBS)
def test_the_truth_table(record: BundleRecord, verb: str) -> None:
    registry = BundleRegistry(record, Groups.parse(GROUPS), clock=ticking())
    cases = [case for case in CASES if case.verb == verb]
    assert len(cases) >= 30
    if not SOAK and not in_memory(record):  # the table is the registry's; of a record it needs what was there before
        cases = cases[::7]
    wrong = [case for number, case in enumerate(cases) if not holds(registry, case, f"B{number}")]
    assert wrong == []
    assert [check.problem for check in registry.bundle_verify() if check.problem] == []


#: The scopes of a token, and the owners in the table whose bundles they let it change.
SCOPES = {
    "bundles:*:write": {"own", "other", "root"},
    "bundles:NOvA:write": {"own"},
    "bundles:Minerva:read,write": {"other"},
    "bundles:root:write bundles:NOvA:read": {"root"},
    "bundles:*:read": set(),
    "ds:*:* ds:NOvA/*:create,read,update": set(),
    "": set(),
}


@pytest.mark.parametrize("scopes", SCOPES)
def test_the_truth_table_within_the_scopes_of_a_token(scopes: str) -> None:
    grant, groups = parse_bundle_scopes(scopes), Groups.parse(GROUPS)
    wrong = []
    # A third of the table for each; together they try all of it. The soak tries all of it with each.
    for case in CASES if SOAK else CASES[list(SCOPES).index(scopes) % 3 :: 3]:
        registry = BundleRegistry(VersionedRecord(MemoryStorage()), groups, clock=ticking())
        expected = allowed(case) and case.owner in SCOPES[scopes]
        if not holds(registry, case, "B", registry.limited_to(grant), expected):
            wrong.append(case)
    assert wrong == []


def holds(
    registry: BundleRegistry,
    case: Case,
    name: str,
    mine: BundleRegistry | None = None,
    expected: bool | None = None,
) -> bool:
    """Tell whether an attempt ends as it should, through a registry of the user's own if there is one."""
    expected = allowed(case) if expected is None else expected
    attempt = prepare(registry, case, name)
    before = state(registry)
    try:
        attempt(mine or registry, USERS[case.user])
    except PermissionDenied:
        return not expected and state(registry) == before
    return expected and state(registry) != before


def test_every_combination_is_in_the_table() -> None:
    assert len(CASES) == 5 * 3 * (2 + 4 + 4 + 2 + 2 + 4 + 4 + 4 + 2 + 4)


# What the table cannot say


@pytest.fixture
def deleted(registry: BundleRegistry) -> Iterator[BundleRegistry]:
    registry.bundle_create(numi(), user="ann")
    registry.bundle_delete("NuMI", user="ann")
    return registry


def test_a_deleted_name_comes_back_only_in_its_old_group(deleted: BundleRegistry) -> None:
    for user in ("cy", "bo"):  # bo is an admin of both groups
        with pytest.raises(PermissionDenied):
            deleted.bundle_create(numi(ifb_group="MINOS" if user == "bo" else "Minerva"), user=user)
    assert deleted.bundle_create(numi(), user="bo").ifb_group == "NOvA"


def test_a_superuser_may_give_a_deleted_name_to_another_group(deleted: BundleRegistry) -> None:
    first = deleted.bundle_log("NuMI")[1].id
    deleted.bundle_create(numi(ifb_group="MINOS"), user="ruth")
    with pytest.raises(InvalidInput, match="a group never changes"):
        deleted.bundle_restore("NuMI", first, user="ruth")
    deleted.bundle_delete("NuMI", user="bo")
    with pytest.raises(PermissionDenied, match="can return only there"):
        deleted.bundle_restore("NuMI", first, user="bo")
    assert deleted.bundle_restore("NuMI", first, user="ruth").ifb_group == "NOvA"


def test_a_copy_lands_in_the_group_of_the_original(registry: BundleRegistry) -> None:
    registry.bundle_create(numi(ifb_group="Minerva"), user="cy")
    with pytest.raises(PermissionDenied, match="ann is not an admin of Minerva"):
        registry.bundle_copy("NuMI", "Mine", user="ann")


def test_a_copy_takes_no_deleted_name_of_another_group(deleted: BundleRegistry) -> None:
    deleted.bundle_create(numi(name="Source", ifb_group="MINOS"), user="bo")
    with pytest.raises(PermissionDenied, match="belonged to NOvA"):
        deleted.bundle_copy("Source", "NuMI", user="bo")


def test_a_group_that_is_not_in_the_file_owns_nothing(registry: BundleRegistry) -> None:
    with pytest.raises(InvalidInput, match="no group 'Nova'"):
        registry.bundle_create(numi(ifb_group="Nova"), user="ruth")


def test_bundles_of_a_group_that_left_the_file_are_the_superusers(tmp_path: Path) -> None:
    path = tmp_path / "groups"
    path.write_text(GROUPS)
    with bundle.connect("memory:", groups=path) as registry:
        first = registry.bundle_create(numi(), user="ann").snapshot or 0
        rewrite(path, GROUPS.replace("NOvA,", "").replace("Minerva NOvA", "Minerva"))
        with pytest.raises(PermissionDenied):
            registry.bundle_update("NuMI", {"udp": True}, user="ann")
        registry.bundle_update("NuMI", {"udp": True}, user="ruth")
        assert not registry.bundle_restore("NuMI", first, user="ruth").udp


def test_who_may_not_is_told_why(registry: BundleRegistry) -> None:
    registry.bundle_create(numi(writable=True), user="ruth")
    registry.bundle_create(numi(name="Roots", ifb_group="root"), user="ruth")
    for user, name, said in (
        (None, "NuMI", "say who you are"),
        ("", "NuMI", "say who you are"),
        ("eve", "NuMI", "eve is not an admin of NOvA, which owns NuMI"),
        ("ann", "NuMI", "NuMI is collectable"),
        ("ann", "Roots", "only superusers may change its bundles"),
    ):
        with pytest.raises(PermissionDenied, match=said):
            registry.bundle_update(name, {"hosts": ["h1"]}, user=user)


def test_anybody_reads_anything(registry: BundleRegistry) -> None:
    made = registry.bundle_create(numi(ifb_group="root", writable=True), user="ruth")
    assert registry.bundle_read("NuMI") == made
    assert list(registry.bundle_list(group="root")) == [made]
    assert registry.bundle_snapshot(made.snapshot or 0).bundle == made
