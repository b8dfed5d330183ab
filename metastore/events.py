"""Signals that extensions subscribe to (blinker), sent after a write has landed.

```python
from metastore import events

@events.dataset_changed.connect
def tell(store, event):
    print(event.action, event.dataset_id, event.before, event.after)
```

A subscriber that fails is logged and hurts nobody: the write has happened, and the other subscribers are still called.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from blinker import Signal

from metastore.types import DatasetId, Revision, Tag

#: Sent with a `DatasetEvent` after create, update, patch, delete, revert, move and purge.
dataset_changed = Signal()
#: Sent with a `TagEvent` after a tag was created, updated or deleted.
tag_changed = Signal()

_log = logging.getLogger("metastore.events")


@dataclass(frozen=True, slots=True)
class DatasetEvent:
    """What happened to a dataset.

    Attributes:
        action: `create`, `update`, `patch`, `delete`, `revert`, `move` or `purge`.
        dataset_id: Where the dataset was when the call began.
        before: The newest revision before; None when created from nothing.
        after: The newest revision after; None when purged.
        new_id: Where it was moved to.
    """

    action: str
    dataset_id: DatasetId
    before: Revision | None
    after: Revision | None
    new_id: DatasetId | None = None


@dataclass(frozen=True, slots=True)
class TagEvent:
    """What happened to a tag.

    Attributes:
        action: `create`, `update` or `delete`.
        dataset_id: Whose tag.
        before: The tag before; None when created.
        after: The tag after; None when deleted.
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
