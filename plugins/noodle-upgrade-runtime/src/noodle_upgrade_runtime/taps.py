"""Taps on methods: what a caller goes through while copies of its calls are taken.

The call itself is made and answered as ever, by the method that is tapped. Arguments are copied before it begins, and
its answer before the caller gets it: both may be changed at any time afterwards. Nothing that goes wrong with a copy
reaches the caller.

Skipped are calls that are given functions or the like, because a copy of the call would call the same ones, and those
whose answer is read bit by bit: generators belong to who reads them.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

from attrs import frozen

from noodle_upgrade_runtime.links import Compare
from noodle_upgrade_runtime.outcomes import Answered, Outcome, Raised
from noodle_upgrade_runtime.shadow import Copy, Shadowing

__all__ = ["Tap"]

_Taken = tuple[tuple[Any, ...], dict[str, Any]]


@frozen(kw_only=True, eq=False)
class Tap:
    """One method's calls, to be copied into a shadow: `owner` says on which of its objects they are to be run."""

    shadowing: Shadowing
    owner: int
    name: str
    compare: Compare | None = None

    def on(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """Return the method with a tap on it: of the same kind, with the same answers."""
        if inspect.iscoroutinefunction(method):
            made = self._coroutine(method)
        elif inspect.isgeneratorfunction(method) or inspect.isasyncgenfunction(method):
            made = self._skipping(method)
        else:
            made = self._plain(method)
        made.__name__ = getattr(method, "__name__", self.name)
        made.__doc__ = getattr(method, "__doc__", None)
        return made

    def _plain(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            taken = self._take(args, kwargs)
            if taken is None:
                return method(*args, **kwargs)
            try:
                answer = method(*args, **kwargs)
            except Exception as error:
                self._fail(taken, error)
                raise
            self._answer(taken, answer)
            return answer

        return call

    def _coroutine(self, method: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            taken = self._take(args, kwargs)
            if taken is None:
                return await method(*args, **kwargs)
            try:
                answer = await method(*args, **kwargs)
            except Exception as error:
                self._fail(taken, error)
                raise
            self._answer(taken, answer)
            return answer

        return call

    def _skipping(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self.shadowing.chosen():
                self.shadowing.skip()
            return method(*args, **kwargs)

        return call

    def _take(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Taken | None:
        if not self.shadowing.chosen():
            return None
        if any(map(callable, args)) or any(map(callable, kwargs.values())):
            self.shadowing.skip()
            return None
        return self._copied((args, kwargs))  # type: ignore[no-any-return]

    def _answer(self, taken: _Taken, answer: Any) -> None:
        held = self._copied((answer,))
        if held is not None:
            self._put(taken, Answered(held[0]))

    def _fail(self, taken: _Taken, error: Exception) -> None:
        self._put(taken, Raised.by(error))

    def _put(self, taken: _Taken, outcome: Outcome) -> None:
        args, kwargs = taken
        self.shadowing.put(Copy(self.owner, self.name, args, kwargs, outcome, self.compare))

    def _copied(self, value: Any) -> Any:
        try:
            return copy.deepcopy(value)
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001 - other people's copying: the call itself must not suffer from it
            self.shadowing.skip()
            return None
