"""Signals for extensions (blinker), sent after a write has landed.

```python
from metastore import events

@events.dataset_changed.connect
def tell(store, event):
    print(event.action, event.dataset_id, event.before, event.after)
```

A subscriber that fails is logged. The write has happened, and the other subscribers are still called.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from blinker import Signal

from metastore.types import DatasetId, Revision, Tag

#: Sent with a `DatasetEvent` after create, update, patch, delete, revert, undo, move and purge, and when revisions were
#: received.
dataset_changed = Signal()
#: Sent with a `TagEvent` after a tag was created, updated, deleted or received.
tag_changed = Signal()

_log = logging.getLogger("metastore.events")


@dataclass(frozen=True, slots=True)
class DatasetEvent:
    """A change of a dataset.

    Attributes:
        action: `create`, `update`, `patch`, `delete`, `revert`, `undo`, `move`, `purge`, or `receive` for
            revisions that were made elsewhere.
        dataset_id: The dataset id before the change.
        before: The newest revision before the change; None for a new dataset.
        after: The newest revision after the change; None for a purge.
        new_id: The new id of a moved dataset; else None.
    """

    action: str
    dataset_id: DatasetId
    before: Revision | None
    after: Revision | None
    new_id: DatasetId | None = None


@dataclass(frozen=True, slots=True)
class TagEvent:
    """A change of a tag.

    Attributes:
        action: `create`, `update`, `delete`, or `receive` for a tag that was made elsewhere.
        dataset_id: The dataset of the tag.
        before: The tag before the change; None for a new tag.
        after: The tag after the change; None for a deleted tag.
    """

    action: str
    dataset_id: DatasetId
    before: Tag | None
    after: Tag | None


def send(signal: Signal, store: Any, event: DatasetEvent | TagEvent) -> None:
    """Call every subscriber, and log those that fail."""
    for receiver in signal.receivers_for(store):
        try:
            receiver(store, event=event)
        except Exception:
            _log.exception("a subscriber failed on %s", event)
