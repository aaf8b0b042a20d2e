"""A gate in front of handles: new calls wait while the state behind them is handed over.

What a call does to the old object after its state was exported would be lost. So calls that begin meanwhile are held
here, and go on with whatever version is current when the gate opens. A plain call on a thread whose event loop runs
cannot wait: the calls that it would wait for may be on that loop. It is let through and counted, and the state is then
handed over once more.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, Self

from noodle_upgrade_runtime.handles import Link, flip
from noodle_upgrade_runtime.operations import Operation, Script
from noodle_upgrade_runtime.routing import relayed

__all__ = ["Gate"]

_LOOK_SECONDS = 0.001


class Gate:
    """Closed while its `with` block runs, in front of the handles that are given.

    `within` is how many seconds a call waits at most; then it goes on as if there were no gate. `entered` returns how
    many calls are inside that began before it closed, where somebody counts them.
    """

    def __init__(self, handles: Sequence[Any], *, within: float, entered: Callable[[], int] = lambda: 0) -> None:
        self.handles = tuple(handles)
        self._within = within
        self._entered = entered
        self._open = threading.Event()
        self._count = threading.Lock()
        self._passed = 0
        self._inside = 0
        self._closed = [(one, one._noodle_, one._noodle_.methods, self._methods(one._noodle_)) for one in handles]
        self._script = Script([op for one, link, old, new in self._closed for op in _flipped(one, link, old, new)])

    @property
    def mark(self) -> tuple[int, int]:
        """What changes with every call that is let through: (how many were, how many are inside now)."""
        with self._count:
            return self._passed, self._inside + self._entered()

    def __enter__(self) -> Self:
        self._script.apply()
        return self

    def __exit__(self, *_: object) -> None:
        # A handle that was flipped meanwhile leads to another version already.
        kept = [closed for closed in self._closed if closed[1].methods is closed[3]]
        Script([op for one, link, old, new in kept for op in _flipped(one, link, new, old)]).apply()
        self._open.set()

    # --- the calls -----------------------------------------------------------------------------------------------

    def _methods(self, link: Link) -> dict[str, Callable[..., Any]]:
        return {name: self._gated(link, name, method) for name, method in link.methods.items()}

    def _gated(self, link: Link, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def current() -> Callable[..., Any]:
            found: Callable[..., Any] | None = link.methods.get(name)
            if found is None:
                raise AttributeError(f"{link.component} {link.bound.version} has no {name!r}")
            return found

        if inspect.iscoroutinefunction(method):
            made: Callable[..., Any] = self._coroutine(current, method)
        elif inspect.isasyncgenfunction(method):
            made = self._async_generator(current, method)
        else:
            made = self._plain(current, method)
        made.__name__ = getattr(method, "__name__", name)
        made.__doc__ = getattr(method, "__doc__", None)
        return made

    def _coroutine(self, current: Callable[[], Any], method: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            if await self._opened():
                return await current()(*args, **kwargs)
            with _Passing(self):
                return await method(*args, **kwargs)

        return call

    def _async_generator(self, current: Callable[[], Any], method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            async def begin() -> AsyncGenerator[Any, Any]:
                begun: AsyncGenerator[Any, Any] = (current() if await self._opened() else method)(*args, **kwargs)
                return begun

            return relayed(begin)

        return call

    def _plain(self, current: Callable[[], Any], method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if not _on_a_loop() and self._open.wait(self._within):
                return current()(*args, **kwargs)
            with _Passing(self):
                # Between the look and the count it may have been opened, and the version have changed.
                return (current() if self._open.is_set() else method)(*args, **kwargs)

        return call

    async def _opened(self) -> bool:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._within
        while not self._open.is_set() and loop.time() < until:  # noqa: ASYNC110 - it is opened on another thread
            await asyncio.sleep(_LOOK_SECONDS)
        return self._open.is_set()

    def enter(self) -> None:
        """A call is let through."""
        with self._count:
            self._passed += 1
            self._inside += 1

    def leave(self) -> None:
        """It has ended."""
        with self._count:
            self._inside -= 1


class _Passing:
    """One call that is let through a closed gate."""

    __slots__ = ("_gate",)

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def __enter__(self) -> None:
        self._gate.enter()

    def __exit__(self, *_: object) -> None:
        self._gate.leave()


def _flipped(handle: Any, link: Link, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Operation]:
    return flip(handle, old, new, before=link.bound, after=link.bound)


def _on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
