"""Convert CKAN's dataset dictionaries to Data Package descriptors and back, without loss in either direction.

```python
from metastore import ckan

descriptor = ckan.to_descriptor(package)  # a result of package_show
package = ckan.to_package(descriptor)  # the same dictionary again
```

Fields with a member in Data Package are mapped to it. The other fields of CKAN are kept under the member `ckan`, in the
dataset and in each resource. In the other direction, members without a field in CKAN are kept in the extra
`datapackage`, as JSON. CKAN is not imported. The rules are those of CKAN's default schema (`ckan/logic/schema.py`) and
of Data Package 1.0 and 2.0.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from metastore.ckan._fields import NAME, from_json, same
from metastore.ckan._ids import OWNER, dataset_id
from metastore.ckan._packages import describe, pack
from metastore.descriptor.document import encode, load

__all__ = ["OWNER", "dataset_id", "to_descriptor", "to_package"]

_WHOLE_DESCRIPTOR = "datapackage.json"
_WHOLE_PACKAGE = "package"


def to_descriptor(package: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a dataset of CKAN to a descriptor.

    Args:
        package: A dataset as `package_show` returns it or `package_create` takes it, of JSON values.

    Returns:
        A descriptor that `to_package` converts to the same dictionary. A dictionary that breaks CKAN's own rules is
        kept whole, under `ckan` › `package`.

    Raises:
        InvalidInput: A value has no JSON type, such as a `datetime`.
    """
    package = _json(package)
    descriptor = describe(package)
    whole = _whole_descriptor(package)
    if whole is None and _whole_package(descriptor) is None and same(pack(descriptor), package):
        return descriptor
    if whole is not None and same(to_package(whole), package):
        return whole
    return _around_package(package)


def to_package(descriptor: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a descriptor to a dataset of CKAN.

    Args:
        descriptor: Any descriptor, made by `to_descriptor` or not.

    Returns:
        A dictionary that `to_descriptor` converts to the same descriptor, for `package_create` or `package_update`. It
        has a `name` only if CKAN accepts the descriptor's name.

    Raises:
        InvalidInput: A value has no JSON type.
    """
    descriptor = _json(descriptor)
    package = pack(descriptor)
    whole = _whole_package(descriptor)
    if whole is None and _whole_descriptor(package) is None and same(describe(package), descriptor):
        return package
    if whole is not None and same(to_descriptor(whole), descriptor):
        return whole
    return _around_descriptor(descriptor)


# A document that breaks the rules of its own format is kept whole, so that nothing of it is lost either.


def _around_package(package: Mapping[str, Any]) -> dict[str, Any]:
    return {**_name_of(package), "resources": [], "ckan": {_WHOLE_PACKAGE: package}}


def _whole_package(descriptor: Mapping[str, Any]) -> dict[str, Any] | None:
    rest = descriptor.get("ckan")
    whole = rest.get(_WHOLE_PACKAGE) if isinstance(rest, dict) and len(rest) == 1 else None
    return whole if isinstance(whole, dict) and same(_around_package(whole), descriptor) else None


def _around_descriptor(descriptor: Mapping[str, Any]) -> dict[str, Any]:
    text = json.dumps(descriptor, ensure_ascii=False, sort_keys=True)
    return {**_name_of(descriptor), "extras": [{"key": _WHOLE_DESCRIPTOR, "value": text}]}


def _whole_descriptor(package: Mapping[str, Any]) -> dict[str, Any] | None:
    try:
        [extra] = package["extras"]
        whole = from_json(extra["value"]) if extra["key"] == _WHOLE_DESCRIPTOR else None
    except (KeyError, TypeError, ValueError):
        return None
    return whole if isinstance(whole, dict) and same(_around_descriptor(whole), package) else None


def _name_of(document: Mapping[str, Any]) -> dict[str, str]:
    name = document.get("name")
    return {"name": name} if isinstance(name, str) and NAME.fullmatch(name) else {}


def _json(document: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a document into plain JSON values."""
    return dict(load(encode(dict(document))))
