"""Packages of other libraries: converted to descriptors, and made from descriptors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from metastore.errors import InvalidInput, needs_extra


class FrictionlessPackage(Protocol):
    """A `frictionless.Package`."""

    def to_descriptor(self) -> Mapping[str, Any]:
        """Return the descriptor."""


class DplibPackage(Protocol):
    """A `dplib.models.Package`."""

    def to_dict(self) -> Mapping[str, Any]:
        """Return the descriptor."""


class DatapackagePackage(Protocol):
    """A `datapackage.Package`."""

    @property
    def descriptor(self) -> Mapping[str, Any]:
        """The descriptor."""


Package = FrictionlessPackage | DplibPackage | DatapackagePackage


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether another library takes a descriptor.

    Attributes:
        library: `frictionless` or `datapackage`.
        version: Its version.
        problems: What it says is wrong, in its own words; empty if it takes the descriptor.
    """

    library: str
    version: str
    problems: tuple[str, ...]

    def __str__(self) -> str:
        count = len(self.problems)
        return f"{self.library} {self.version}: {count or 'no'} problem{'s' * (count != 1)}"


def values_of(package: object) -> object:
    """Return the descriptor of a package as ordinary values, and any other value unchanged."""
    for name in ("to_descriptor", "descriptor", "to_dict"):
        if (member := getattr(package, name, None)) is not None:
            return member() if callable(member) else member
    return package


def verdict_of(descriptor: Mapping[str, Any], library: str) -> Verdict:
    """Ask another library about a descriptor. Files and addresses that it names are not read.

    Raises:
        InvalidInput: The library is not installed.
    """
    from importlib.metadata import version  # slow to import, and `metastore.types` imports this module

    with needs_extra("frictionless"):
        import_module(library)
    try:
        errors = getattr(make_package(descriptor, library, None), "errors", ())
    except InvalidInput as refused:
        cause = refused.__cause__
        errors = getattr(cause, "reasons", None) or getattr(cause, "errors", None) or (cause or refused,)
    return Verdict(library, version(library), tuple(getattr(error, "note", None) or str(error) for error in errors))


def make_package(descriptor: Mapping[str, Any], library: str, basepath: str | None) -> Any:
    """See `metastore.Dataset.to_package`."""
    if library not in ("frictionless", "datapackage"):
        raise InvalidInput(f"the library is frictionless or datapackage, not {library!r}")
    for pointer in _references(descriptor):
        raise InvalidInput(f"{library} would read another document at once: put its content here", pointer=pointer)
    values = deepcopy(dict(descriptor))
    with needs_extra("frictionless"):
        module = import_module(library)
    try:
        if library == "frictionless":
            return module.Package.from_descriptor(values, basepath=basepath)
        return module.Package(values, base_path=basepath)
    except Exception as error:  # both raise a dozen kinds of errors for descriptors that they refuse
        raise InvalidInput(f"{library} does not take this descriptor: {str(error)[:300]}") from error


def _references(descriptor: Mapping[str, Any]) -> Iterator[str]:
    """Yield the references to documents outside of the descriptor, which both libraries read with the package."""
    resources = descriptor.get("resources")
    listed = resources if isinstance(resources, list) else []
    for pointer, member in [("", descriptor), *((f"/resources/{at}", each) for at, each in enumerate(listed))]:
        if not isinstance(member, Mapping):
            yield pointer
            continue
        for name in ("schema", "dialect"):
            if isinstance(member.get(name), str):
                yield f"{pointer}/{name}"
        if "/" in str(member.get("profile", "")):
            yield f"{pointer}/profile"
