"""Which version a call through a handle enters while a deployment runs, and what is counted of it.

The table is one immutable value that is replaced by reference: a call reads it once and stays in the version that it
chose. When no deployment runs, handles hold plain bound methods and nothing of this is on the way of a call.
"""

from __future__ import annotations

import hashlib
import inspect
import itertools
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from types import CoroutineType, GeneratorType
from typing import Any

from attrs import frozen

from noodle_upgrade_core.counters import ArmCounter
from noodle_upgrade_core.staged import Arm
from noodle_upgrade_core.traffic import call_error

__all__ = ["Key", "Lane", "RoutedCall", "Router", "Table", "added", "relayed", "routed_methods", "spread"]

Key = Callable[..., Any]
"""Called with a call's own arguments; returns what the call belongs to (a user, a tenant): such calls stay together."""

_SPAN = 2**64
_GOLDEN = 0x9E3779B97F4A7C15  # 2**64 / φ: successive multiples spread as evenly as can be
_SMALL = 2**30
_LOW_BITS = _SMALL - 1  # `& _LOW_BITS` is `% _SMALL`, and cheaper
_SMALL_GOLDEN = 0x278DDE6D  # 2**30 / φ, odd: numbers of this size cost half as much to reckon with


@frozen
class Table:
    """Where calls go: a call whose point (0 … 2**64) lies under `threshold` goes to the new version.

    With `members` those of these handles go there, whatever their points, and no others. `small` is the threshold for
    calls without a key, whose points are smaller.
    """

    weight: float
    threshold: int
    members: frozenset[str] | None = None
    small: int = 0


def spread(number: int, share: float) -> bool:
    """Return whether the call of this number is one of a share: after any number of calls that is met within a few."""
    return (number * _GOLDEN) % _SPAN < round(share * _SPAN)


class Lane:
    """One handle's way to either version: the name of its member, and how many of its calls are inside.

    `methods` returns what the handle calls now. A call may come late: a coroutine that was made while traffic moved and
    is awaited when that is over. Where the lane is `retired` it goes on with those. `watched` says that calls are to be
    counted while they are inside, because state may move when none is.
    """

    __slots__ = ("_count", "_inside", "_methods", "member", "retired", "watched")

    def __init__(
        self, member: str = "", *, methods: Callable[[], Mapping[str, Callable[..., Any]]] = dict, watched: bool = False
    ) -> None:
        self.member = member
        self.retired = False
        self._methods = methods
        self.watched = watched
        self._count = threading.Lock()
        self._inside = 0

    @property
    def inside(self) -> int:
        """How many calls have entered and not left, of either version; 0 where they are not watched."""
        return self._inside

    def enter(self) -> None:
        """A call enters: before it chooses its version, so that none is missed in between."""
        if self.watched:
            with self._count:
                self._inside += 1

    def leave(self) -> None:
        """It has ended."""
        if self.watched:
            with self._count:
                self._inside -= 1

    def current(self, name: str) -> Callable[..., Any] | None:
        """Return the method that the handle calls now."""
        return self._methods().get(name)


class Router:
    """One deployment's routing, shared by all handles that take part."""

    def __init__(self, *, old_version: str, new_version: str, salt: str) -> None:
        self.counters = (ArmCounter(old_version), ArmCounter(new_version))
        self.table = Table(0.0, 0)
        self._salt = hashlib.blake2b(salt.encode(), digest_size=16).digest()
        self.number = itertools.count(1).__next__

    def route(self, weight: float) -> None:
        """Send this share of calls to the new version from now on; 0 and 1 are exact."""
        self.table = Table(weight, round(weight * _SPAN), small=round(weight * _SMALL))

    def arm(self, key: Key | None, args: tuple[Any, ...], kwargs: Mapping[str, Any], member: str = "") -> bool:
        """Return whether a call goes to the new version.

        With a key the same key gets the same answer at the same weight, and a growing weight never moves it back.
        """
        table = self.table
        if table.members is not None:
            return member in table.members
        if key is None:
            return self.number() * _SMALL_GOLDEN & _LOW_BITS < table.small
        threshold = table.threshold
        # At none and at all of the traffic nobody need be asked whose call it is.
        return threshold > 0 and (threshold == _SPAN or self.point(key(*args, **kwargs)) < threshold)

    def point(self, value: Any) -> int:
        """Return the place of a key between 0 and 2**64: the same in every process and on every machine."""
        data = value if isinstance(value, bytes) else str(value).encode()
        return int.from_bytes(hashlib.blake2b(data, digest_size=8, salt=self._salt).digest(), "big")

    def arms(self) -> tuple[Arm, Arm]:
        """Return what the old and the new version did since this router was made."""
        return self.counters[0].snapshot(), self.counters[1].snapshot()


def routed_methods(
    old: Mapping[str, Callable[..., Any]],
    new: Mapping[str, Callable[..., Any]],
    router: Router,
    key: Key | None,
    lane: Lane | None = None,
) -> dict[str, Callable[..., Any]]:
    """Return a method for every name that either version has, each of which chooses a version for every call."""
    way = Lane() if lane is None else lane
    return {
        name: _routed(_Route(name=name, pair=(old.get(name), new.get(name)), router=router, key=key, lane=way))
        for name in {**old, **new}
    }


@frozen(kw_only=True, eq=False)
class _Route:
    """One method's two versions, and who chooses between them."""

    name: str
    pair: tuple[Callable[..., Any] | None, Callable[..., Any] | None]
    router: Router
    key: Key | None
    lane: Lane


def _routed(route: _Route) -> Callable[..., Any]:
    present = [method for method in route.pair if method is not None]
    if all(map(inspect.iscoroutinefunction, present)):
        made = _coroutine(route)
    elif all(map(inspect.isasyncgenfunction, present)):
        made = _async_generator(route)
    elif all(map(inspect.isgeneratorfunction, present)):
        made = _generator(route)
    else:
        made = _plain(route)
    made.__name__ = getattr(present[0], "__name__", route.name)
    made.__doc__ = getattr(present[0], "__doc__", None)
    return made


class RoutedCall:
    """One call that lasts: from the choice of its version to its end, whenever that is.

    `result` is what the method returned, which is still to run.
    """

    __slots__ = ("_counter", "_lane", "_started", "result")

    def __init__(self, lane: Lane, counter: ArmCounter | None, started: int, result: Any) -> None:
        self._lane = lane
        self._counter = counter
        self._started = started
        self.result = result

    def ended(self) -> None:
        """It went well."""
        if self._counter is not None:
            self._counter.leave(self._started)
        self._lane.leave()

    def failed(self, error: BaseException) -> None:
        """It ended with an error, or was given up."""
        if self._counter is not None:
            self._counter.leave(self._started, call_error(error))
        self._lane.leave()


def _begun(route: _Route, args: tuple[Any, ...], kwargs: dict[str, Any]) -> RoutedCall:
    """Choose a version for a call, and begin it there."""
    lane, counter, started = route.lane, None, 0
    lane.enter()
    try:
        if lane.retired:
            method = lane.current(route.name)
        else:
            arm = route.router.arm(route.key, args, kwargs, lane.member)
            counter = route.router.counters[arm]
            started = counter.enter()
            method = route.pair[arm]
        result = _lacking(route.name) if method is None else method(*args, **kwargs)
    except BaseException as error:
        RoutedCall(lane, counter, started, None).failed(error)
        raise
    return RoutedCall(lane, counter, started, result)


def _lacking(name: str) -> Any:
    raise AttributeError(f"the version that this call was sent to has no {name!r}")


def _plain(route: _Route) -> Callable[..., Any]:
    if route.lane.watched or None in route.pair:
        return _plain_watched(route)
    router, key, lane, member = route.router, route.key, route.lane, route.lane.member
    choose, number, counters, pair = router.arm, router.number, router.counters, route.pair

    def call(*args: Any, **kwargs: Any) -> Any:
        # What most calls take while a deployment runs: every line of it is paid for by each of them.
        if lane.retired:
            return watched(*args, **kwargs)
        table = router.table
        if key is None and table.members is None:
            arm = number() * _SMALL_GOLDEN & _LOW_BITS < table.small
        else:
            arm = choose(key, args, kwargs, member)
        counter = counters[arm]
        started = counter.enter()
        try:
            result = pair[arm](*args, **kwargs)  # type: ignore[misc]
        except BaseException as error:
            counter.leave(started, call_error(error))
            raise
        kind = type(result)
        if kind is CoroutineType or kind is GeneratorType:
            lasting = RoutedCall(lane, counter, started, result)
            return _follow(lasting) if kind is CoroutineType else _follow_generator(lasting)
        counter.leave(started)
        return result

    watched = _plain_watched(route)
    return call


def _plain_watched(route: _Route) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        one = _begun(route, args, kwargs)
        # A plain function may hand out what is still to run: the call ends when that has ended.
        kind = type(one.result)
        if kind is CoroutineType:
            return _follow(one)
        if kind is GeneratorType:
            return _follow_generator(one)
        one.ended()
        return one.result

    return call


def _coroutine(route: _Route) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        return await _follow(_begun(route, args, kwargs))

    return call


def _generator(route: _Route) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        return (yield from _follow_generator(_begun(route, args, kwargs)))

    return call


def _async_generator(route: _Route) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        begun: list[RoutedCall] = []

        async def begin() -> AsyncGenerator[Any, Any]:
            begun.append(_begun(route, args, kwargs))
            running: AsyncGenerator[Any, Any] = begun[0].result
            return running

        def ended() -> None:
            begun[0].ended()

        def failed(error: BaseException) -> None:
            begun[0].failed(error)

        return relayed(begin, ended=ended, failed=failed)

    return call


async def relayed(
    begin: Callable[[], Awaitable[AsyncGenerator[Any, Any]]],
    *,
    ended: Callable[[], None] = lambda: None,
    failed: Callable[[BaseException], None] = lambda _: None,
) -> AsyncGenerator[Any, Any]:
    """Pass on what an async generator yields and what it is sent; it is begun with the first item."""
    running = await begin()
    try:
        item = await anext(running)
        while True:
            try:
                sent = yield item
            except GeneratorExit:
                await running.aclose()
                raise
            except BaseException as thrown:  # noqa: BLE001 - handed to the generator that it is meant for
                item = await running.athrow(thrown)
            else:
                item = await running.asend(sent)
    except StopAsyncIteration:
        ended()
    except BaseException as error:
        failed(error)
        raise


async def _follow(one: RoutedCall) -> Any:
    try:
        result = await one.result
    except BaseException as error:
        one.failed(error)
        raise
    one.ended()
    return result


def _follow_generator(one: RoutedCall) -> Generator[Any, Any, Any]:
    try:
        result = yield from one.result
    except BaseException as error:
        one.failed(error)
        raise
    one.ended()
    return result


def added(one: Arm, other: Arm) -> Arm:
    """Return the counts of two parts of one version together."""
    return Arm(
        version=one.version,
        calls=one.calls + other.calls,
        errors=one.errors + other.errors,
        in_flight=one.in_flight + other.in_flight,
        stalled=max(one.stalled, other.stalled),
        latency=tuple(a + b for a, b in zip(one.latency, other.latency, strict=True)),
        last_error=one.last_error or other.last_error,
    )
