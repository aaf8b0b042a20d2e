"""Running what may hang or want to end the program, such as somebody's import, in a thread that can be left behind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from noodle_upgrade_core.errors import StageError, StageTimeoutError, UpgradeError

__all__ = ["Loading"]

_LOOK_SECONDS = 0.02


class Loading:
    """One piece of work, started at once in a daemon thread of its own."""

    def __init__(self, work: Callable[[], Any], *, name: str) -> None:
        self._work = work
        self._done = threading.Event()
        self._value: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._value = self._work()
        except BaseException as error:  # noqa: BLE001 - kept for the one who waits, whatever it is
            self._error = error
        finally:
            self._done.set()

    def result(self, cancelled: Callable[[], bool]) -> Any:
        """Wait for the end and return the value, or raise what was raised.

        Raises `StageTimeoutError` as soon as `cancelled` says so; the thread is then left behind, by name.
        """
        while not self._done.wait(_LOOK_SECONDS):
            if cancelled():
                raise StageTimeoutError(
                    "The new version did not finish its import in time, or the upgrade was cancelled meanwhile.",
                    hint="Look at what its import does; the limit is runtime_upgrade.hot_swap.swap_timeout.",
                    details={"thread": self._thread.name},
                )
        if isinstance(self._error, UpgradeError):
            raise self._error
        if self._error is not None:
            raise StageError(
                f"The new version could not be staged: {type(self._error).__name__}: {self._error}",
                hint="Try the version by itself first.",
                details={"error": type(self._error).__name__},
            ) from self._error
        return self._value
