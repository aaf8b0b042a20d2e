"""A version of a phase that fails after it was taken into use is taken back, once, without being asked."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import Future
from typing import Any

from noodle_upgrade_compiler.compiler import Compiler
from noodle_upgrade_core import Upgrader
from noodle_upgrade_core.errors import UpgradeError

__all__ = ["Watch"]


class Watch:
    """Hears of versions that fail. Only one that an upgrade has brought is taken back: there is one before it then."""

    def __init__(self, upgrader: Upgrader, compiler: Compiler) -> None:
        self._upgrader, self._compiler = upgrader, compiler
        self._loop: asyncio.AbstractEventLoop | None = None
        self._seen: set[tuple[str, str]] = set()
        self._going: set[Future[Any]] = set()

    def begin(self) -> None:
        """Listen from now on; on the Upgrader's loop."""
        self._loop = asyncio.get_running_loop()
        self._compiler.failed = self._failed

    def end(self) -> None:
        """Listen no more."""
        self._loop = None
        self._compiler.failed = lambda _phase, _version: None

    def _failed(self, phase: str, version: str) -> None:
        """Hear of a failure, in the thread that compiled."""
        loop = self._loop
        if loop is None or (phase, version) in self._seen or self._compiler.current.versions.get(phase) != version:
            return  # one that has a share of the files only is for the judge to take back
        self._seen.add((phase, version))
        with contextlib.suppress(RuntimeError):  # the loop has ended
            going = asyncio.run_coroutine_threadsafe(self._take_back(phase, version), loop)
            self._going.add(going)
            going.add_done_callback(self._going.discard)

    async def _take_back(self, phase: str, version: str) -> None:
        self._upgrader.events.emit(
            "compiler.phase_failed",
            component_name=phase,
            message=f"{phase} {version} has failed: the version before is put back",
            data={"phase": phase, "version": version},
        )
        # Without a version before it there is nothing to go back to: compilations go on failing, and say why.
        with contextlib.suppress(UpgradeError):
            await self._upgrader.rollback(phase, requested_by="compiler (a phase failed)")
