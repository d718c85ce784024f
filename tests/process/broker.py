"""A broker for celery that needs no server: folders. Import it where the application is made.

kombu's own creates a message's file in the queue and then fills it: whoever looks between takes
an empty message, and the worker stops consuming. Here a message is whole before it is in the queue.
"""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, filesystem  # type: ignore[import-untyped]

URL = "folders://"
TRANSPORT_ALIASES["folders"] = f"{__name__}:Transport"


class Channel(filesystem.Channel):  # type: ignore[misc]
    def _put(self, queue: str, payload: dict[str, Any], **_: Any) -> None:
        name = f"{time.monotonic_ns():020}_{uuid.uuid4()}.{queue}.msg"
        written = Path(self.control_folder, name)
        written.write_text(json.dumps(payload))
        written.rename(Path(self.data_folder_out, name))


class Transport(filesystem.Transport):  # type: ignore[misc]
    Channel = Channel


def options(folder: Path) -> dict[str, str]:
    """The settings of a broker in this folder, whose messages are in `queue`."""
    queue, control = folder / "queue", folder / "control"
    queue.mkdir(parents=True)
    control.mkdir()
    return {
        "data_folder_in": str(queue),
        "data_folder_out": str(queue),
        "control_folder": str(control),
    }
