"""Opening a control server that had no room on the disk, as soon as there is some."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from noodle_upgrade_server.control import ControlServer
from noodle_upgrade_server.errors import NoRoomError, ServeError

__all__ = ["Later"]

_PAUSE_SECONDS = 5.0


class Later:
    """Tries again and again, beside the program, within its `with` block; `say` tells how that went."""

    def __init__(self, control: ControlServer, say: Callable[[str], None], *, pause: float = _PAUSE_SECONDS) -> None:
        self._control = control
        self._say = say
        self._pause = pause
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._try, name="noodle-control-later", daemon=True)

    def _try(self) -> None:
        while not self._ended.wait(self._pause):
            try:
                self._control.start()
            except NoRoomError:
                continue
            except ServeError as error:
                self._say(f"{error.message} {error.hint}")
            else:
                self._say(f"control at {self._control.shown}")
            return

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._control.close()
