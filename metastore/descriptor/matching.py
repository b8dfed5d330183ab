"""Pairs the items of two lists: by name, after a renaming by content, otherwise by similarity."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from metastore.descriptor.document import encode
from metastore.descriptor.item_names import name_of
from metastore.errors import InvalidInput
from metastore.looks import look_of

#: A name, or the position of an unnamed item.
_Key = TypeVar("_Key", str, int)
#: Members that identify a renamed thing, such as a resource.
_CONTENT = ("path", "hash", "sha256", "data", "label", "url", "web", "email", "title")
#: The most pairs that are compared by similarity, and the most values of each, which bounds the time.
_MOST_PAIRS, _MOST_LEAVES = 1_000, 500
#: The similarity that identifies a renamed thing: by its content alone, or by its content and its name.
_ALIKE, _HALF_ALIKE, _NAMES_ALIKE = 0.75, 0.5, 0.6
#: The number of values that identify a thing by content alone. Fewer do not: many fields share a type.
_TELLING = 3
#: The bonus for the same place in both lists: for things with similar names, and for unnamed ones that fit equally.
_SAME_PLACE, _TIE = 0.25, 0.001
#: Members with the same meaning in different versions of the specification. One that replaces the other is a renaming.
_SPELLINGS = {"license": "licenses", "licenses": "license"}
#: Members whose values are common words, and the least length of the value of any other member.
_OF_COMMON_WORDS = frozenset({"type", "format", "profile", "encoding", "mediatype", "scheme", "version", "$schema"})
_TELLING_LENGTH = 3


def respelled(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, str]:
    """Return old -> new members of an object that hold the same value, such as `web` and `path`.

    Two members match if readers cannot tell their names apart, or if the specification gives them the same meaning.
    They also match if no other members have their value, and it is distinctive.
    """
    gone = {key: value for key, value in old.items() if key not in new}
    come = {key: value for key, value in new.items() if key not in old}
    pairs = dict(_by_look(old, new, gone, come))
    pairs |= {key: _SPELLINGS[key] for key in gone if key not in pairs and _SPELLINGS.get(key) in come}
    for key, now in pairs.items():
        del gone[key], come[now]
    if gone and come:
        before, after = _by_value(gone), _by_value(come)
        pairs |= {key: after[value] for value, key in before.items() if value in after}
    return pairs


def _by_value(members: Mapping[str, Any]) -> dict[str, str]:
    """Return value -> member for the distinctive values that only one member has."""
    owners = defaultdict[str, list[str]](list)
    for key, value in members.items():
        shortest = _TELLING_LENGTH if isinstance(value, str) else 1
        if key not in _OF_COMMON_WORDS and isinstance(value, (str, list, dict)) and len(value) >= shortest:
            owners[text_of(value)].append(key)
    return {value: keys[0] for value, keys in owners.items() if len(keys) == 1}


def renamed(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, str]:
    """Return old -> new names of renamed things.

    Two things match if their names look the same; else if no others have the same path, else the same hash or data;
    else if each is the other's closest match and they are similar. If the names decide, the same place in both lists
    counts too.
    """
    gone = dict.fromkeys(name for name in old if name not in new)
    come = dict.fromkeys(name for name in new if name not in old)
    pairs: dict[str, str] = {}
    if gone and come:
        for find in (_by_look, _by_content, _by_likeness):
            for name, now in find(old, new, gone, come):
                del gone[name], come[now]
                pairs[name] = now
    return pairs


def _by_look(
    old: Mapping[str, Any], new: Mapping[str, Any], gone: Iterable[str], come: Iterable[str]
) -> list[tuple[str, str]]:
    """Pair the names that readers cannot tell apart: letters of other scripts, invisible characters, white space."""
    before, after = ({look_of(name): name for name in names} for names in (gone, come))
    return [(name, after[look]) for look, name in before.items() if look in after]


def _by_content(
    old: Mapping[str, Any], new: Mapping[str, Any], gone: Iterable[str], come: Iterable[str]
) -> Iterator[tuple[str, str]]:
    left, right = dict.fromkeys(gone), dict.fromkeys(come)
    for key in _CONTENT:
        if not left or not right:
            return
        before, after = _unique(old, left, key), _unique(new, right, key)
        for content, name in before.items():
            if content in after:
                del left[name], right[after[content]]
                yield name, after[content]


def _unique(values: Mapping[str, Any], names: Iterable[str], key: str) -> dict[str, str]:
    """Return value -> name of the thing, for the values of a member that only one thing has."""
    owners: dict[str, list[str]] = {}
    for name in names:
        if key in values[name]:
            owners.setdefault(text_of(values[name][key]), []).append(name)
    return {content: holders[0] for content, holders in owners.items() if len(holders) == 1}


def _by_likeness(
    old: Mapping[_Key, Any], new: Mapping[_Key, Any], gone: Iterable[_Key], come: Iterable[_Key]
) -> list[tuple[_Key, _Key]]:
    left, right = list(gone), list(come)
    if len(left) * len(right) > _MOST_PAIRS:
        return []
    before, after = ({name: _leaves(side[name], name) for name in names} for side, names in ((old, left), (new, right)))
    places, now = (dict(_places(side, other)) for side, other in ((old, new), (new, old)))
    scores = {(a, b): score for a in left for b in right if (score := _likeness(a, before[a], b, after[b]))}
    # The place counts beside names, but not if the content decides.
    ranks = {
        (a, b): score + _SAME_PLACE if score <= 1 and places[a] == now[b] else score for (a, b), score in scores.items()
    }
    of_left, of_right = (defaultdict[_Key, list[tuple[_Key, _Key]]](list) for _ in range(2))
    for pair in scores:
        of_left[pair[0]].append(pair)
        of_right[pair[1]].append(pair)
    # If two candidates fit equally well, none is guessed.
    return [
        pair
        for pair in scores
        if all(
            ranks[pair] == max(ranks[other] for other in rivals)
            and [scores[other] for other in rivals].count(scores[pair]) == 1
            for rivals in (of_left[pair[0]], of_right[pair[1]])
        )
    ]


def _places(side: Mapping[_Key, Any], other: Mapping[_Key, Any]) -> Iterator[tuple[_Key, tuple[object, int]]]:
    """Yield the place of each thing: the thing before it that both lists have, and the distance."""
    anchor, distance = None, 0
    for name in side:
        anchor, distance = (name, 0) if name in other else (anchor, distance + 1)
        yield name, (anchor, distance)


def _likeness(a: _Key, before: Counter[tuple[str, str]], b: _Key, after: Counter[tuple[str, str]]) -> float:
    """Return the similarity of two things, from 0 to 2; 0 if they differ too much."""
    total = before.total() + after.total()
    content = 2 * (before & after).total() / total if total else 0.0
    if content < _HALF_ALIKE:
        return 0.0
    if content >= _ALIKE and (before & after).total() >= _TELLING:
        content += 1
    if isinstance(a, int) or isinstance(b, int):  # without names, the place decides between equally good ones
        return content + (_TIE if a == b else 0)
    if content > 1:
        return content
    names = _names_alike(a[:100].casefold(), b[:100].casefold())
    return content * names if names >= _NAMES_ALIKE else 0.0


def are_alike(a: Any, b: Any) -> bool:
    """Tell whether two values of one name are the same thing: equal, or objects with mostly the same content."""
    if not isinstance(a, dict) or not isinstance(b, dict):
        return equal(a, b)
    before, after = _leaves(a, None), _leaves(b, None)
    return 2 * (before & after).total() >= _ALIKE * (before.total() + after.total())


def _names_alike(a: str, b: str) -> float:
    import difflib  # slow to import, and hardly any call needs it

    ratio = difflib.SequenceMatcher(None, a, b, autojunk=False).ratio()
    shortened = len(min(a, b, key=len)) > 1 and (a.startswith(b) or b.startswith(a))  # such as lat and latitude
    return max(ratio, _NAMES_ALIKE) if shortened else ratio


def _leaves(thing: Mapping[str, Any], name: object) -> Counter[tuple[str, str]]:
    """Return the values of a thing with their places. Its name does not count."""
    leaves: Counter[tuple[str, str]] = Counter()
    waiting: list[tuple[str, Any]] = [(key, value) for key, value in thing.items() if name_of(value) != name]
    while waiting and leaves.total() < _MOST_LEAVES:
        place, value = waiting.pop()
        if isinstance(value, dict) and value:
            waiting += ((f"{place}/{key}", member) for key, member in value.items())
        elif isinstance(value, list) and value:
            waiting += ((f"{place}/", item) for item in value)
        else:
            leaves[place, text_of(value)] += 1
    return leaves


class Pairing:
    """The items of two lists without names, paired: equal items first, then objects by their likeness.

    Attributes:
        gone: The items of the old list that the new one lacks, by position.
        come: The items of the new list that the old one lacks, by position.
        changed: Position in `gone` -> position in `come` of the same object after a change.
        reordered: Whether the shared items are in another order.
    """

    def __init__(self, old: list[Any], new: list[Any]) -> None:
        self.old, self.new = old, new
        before, after = _numbered(old), _numbered(new)
        self.gone = {at: old[at] for key, at in before.items() if key not in after}
        self.come = {at: new[at] for key, at in after.items() if key not in before}
        self.changed = _alike(self.gone, self.come)
        self.reordered = [key for key in before if key in after] != [key for key in after if key in before]

    @property
    def finds_any(self) -> bool:
        """Whether the lists have anything in common."""
        return len(self.gone) < len(self.old) or bool(self.changed) or not self.old or not self.new


def _numbered(items: list[Any]) -> dict[tuple[str, int], int]:
    """Return the position of each item by its text and the count of the same text so far."""
    counts: Counter[str] = Counter()
    keyed = {}
    for at, item in enumerate(items):
        text = text_of(item)
        keyed[text, counts[text]] = at
        counts[text] += 1
    return keyed


def _alike(gone: Mapping[int, Any], come: Mapping[int, Any]) -> dict[int, int]:
    """Pair the objects that are the same by position, or by most of their content."""
    old, new = ({at: item for at, item in side.items() if isinstance(item, dict)} for side in (gone, come))
    return dict(_by_likeness(old, new, old, new))


def equal(a: Any, b: Any) -> bool:
    """Tell whether two values are written alike: 1.10 and 1.1 are not, nor are 1 and True."""
    if isinstance(a, (str, type(None))) or isinstance(b, (str, type(None))):
        return bool(a == b)
    if a != b:
        return False
    # Much faster than comparing texts; it misses only values whose members are in another order.
    return repr(a) == repr(b) or text_of(a) == text_of(b)


def text_of(value: Any) -> str:
    """Return a text that two values share only if they are written alike; the order of members does not count."""
    if type(value) is str:
        return f'"{value}'  # no other text begins with a quotation mark
    if type(value) is int:
        return repr(value)
    try:
        return encode(value, sort=True).decode()
    except InvalidInput:  # stored by another program: half of a surrogate pair, or nested too deeply
        return json.dumps(value, sort_keys=True)
