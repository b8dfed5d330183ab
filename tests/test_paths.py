"""The quick ways through the checks of paths say what the rules say."""

from __future__ import annotations

import re
import unicodedata
from unittest import mock

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from metastore.descriptor import lfs, resources
from metastore.errors import InvalidInput


@given(st.from_regex(resources._PLAIN, fullmatch=True))
def test_a_plain_path_breaks_no_rule(path: str) -> None:
    assume(path.lower() not in resources.OWN_FILES)
    with mock.patch.object(resources, "_PLAIN", re.compile("(?!)")):
        resources.check({"resources": [{"path": path}]})


def test_control_characters_are_those_of_unicode() -> None:
    for character in map(chr, range(0x3000)):
        assert bool(resources._CONTROL.search(character)) == (unicodedata.category(character) == "Cc")


@pytest.mark.parametrize("path", ["a/.git/b", "a/.g\u200cit/b", "a/.GIT", "GIT~1/a", "a/\u00adgit~2", ".gitmodules"])
def test_names_that_some_file_system_takes_for_gits_own_are_refused(path: str) -> None:
    with pytest.raises(InvalidInput, match="Git keeps for itself"):
        resources.check({"resources": [{"path": path}]})


@given(st.from_regex(lfs._PLAIN, fullmatch=True))
def test_a_plain_pattern_needs_no_quotes(path: str) -> None:
    assert lfs._quoted(f"/{path}") == f"/{path}"


@pytest.mark.parametrize("other", ["data/2024/a.csv", "data/2024/more/b.csv"])
def test_a_path_that_is_another_ones_folder_is_refused(other: str) -> None:
    resources = [{"path": path, "bytes": 1, "sha256": "0" * 64} for path in ("data/2024", other)]
    with pytest.raises(InvalidInput, match="folder"):
        lfs.pointers_of({"resources": resources})
