"""What importing a package changes outside of itself: taken back after a private load, made good at the commit.

A private load must leave no trace. The registries of the standard library that packages write to when they are imported
are read before it and set right after it; what the new version put there is kept as effects, and planned like the rest.
"""

from __future__ import annotations

import _thread
import atexit
import codecs
import collections
import copy
import copyreg
import functools
import logging
import mimetypes
import sys
import threading
import typing
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from attrs import frozen

from noodle_upgrade_core.errors import SwapRefusedError
from noodle_upgrade_runtime.operations import Operation

__all__ = ["Call", "Effect", "Entry", "Item", "Member", "Surroundings", "effect_operations", "handlers_in", "standing"]


@frozen
class Entry:
    """`mapping[key]` was bound to `value`."""

    mapping: dict[Any, Any]
    key: Any
    value: Any


@frozen
class Item:
    """`value` was put into a list of the process, in front or behind."""

    sequence: Any
    value: Any
    in_front: bool


@frozen
class Member:
    """`value` was put into a set of the process."""

    members: set[Any]
    value: Any


@frozen
class Call:
    """`register(*arguments)` was called; `remove(arguments[0])` takes it back."""

    register: Callable[..., Any]
    remove: Callable[..., Any]
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]


Effect = Entry | Item | Member | Call


def effect_operations(
    old: Sequence[Effect], new: Sequence[Effect], *, alike: Callable[[Any, Any], bool], image: Callable[[Any], Any]
) -> list[Operation]:
    """Plan what the new version does outside of itself when it is imported, but the old one did not do already."""
    operations = []
    for effect in new:
        parts = _parts(effect)
        if any(type(other) is type(effect) and alike(_parts(other), parts) for other in old):
            continue
        if isinstance(effect, Item) and _place(effect, new) in {_place(one, old) for one in handlers_in(old)}:
            # The handler that the old version's import had put there stands for it, or the program has taken it away.
            continue
        operations += _operations_for(effect, image)
    return operations


def handlers_in(effects: Sequence[Effect]) -> list[Item]:
    """Return what was put into the lists of loggers: handlers and filters, which equal those of no other import."""
    lists = {id(sequence) for sequence in _lists_of_loggers()}
    return [one for one in effects if isinstance(one, Item) and id(one.sequence) in lists]


def standing(*effects: Sequence[Effect]) -> list[Item]:
    """Return what is now in the lists of loggers that these effects have put something into."""
    lists = {id(one.sequence): one.sequence for some in effects for one in handlers_in(some)}
    return [Item(sequence, one, in_front=False) for sequence in lists.values() for one in list(sequence)]


def _place(item: Item, effects: Sequence[Effect]) -> tuple[int, str, int]:
    """Return which of its class a handler is in its list, as far as one import has put it there."""
    kind = _class_of(item.value)
    same = [one for one in handlers_in(effects) if one.sequence is item.sequence and _class_of(one.value) == kind]
    place = next((place for place, one in enumerate(same) if one.value is item.value), -1)
    return (id(item.sequence), kind, place)


def _class_of(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _parts(effect: Effect) -> tuple[Any, ...]:
    if isinstance(effect, Entry):
        return (id(effect.mapping), effect.key, effect.value)
    if isinstance(effect, Item):
        return (id(effect.sequence), effect.value)
    if isinstance(effect, Member):
        return (id(effect.members), effect.value)
    return (effect.register.__qualname__, *effect.arguments)


def _operations_for(effect: Effect, image: Callable[[Any], Any]) -> list[Operation]:
    if isinstance(effect, Entry):
        key, value, missing = image(effect.key), image(effect.value), object()
        before = effect.mapping.get(key, missing)
        undo: tuple[Any, ...] = (dict.__setitem__, effect.mapping, key, before)
        if before is missing:
            undo = (dict.pop, effect.mapping, key, None)
        made = [Operation((dict.__setitem__, effect.mapping, key, value), undo, "a registry")]
        return [*made, *_forgotten_levels()] if key == "level" else made
    if isinstance(effect, Item):
        value = image(effect.value)
        if any(value is one for one in effect.sequence):
            return []
        place = 0 if effect.in_front else sys.maxsize
        operation = Operation(
            (list.insert, effect.sequence, place, value), (list.remove, effect.sequence, value), "a list"
        )
        told = (warnings._filters_mutated,)  # type: ignore[attr-defined]  # noqa: SLF001 - it keeps caches of them
        return [operation, *([Operation(told, told, "warnings")] if effect.sequence is warnings.filters else [])]
    if isinstance(effect, Member):
        value = image(effect.value)
        return [Operation((set.add, effect.members, value), (set.discard, effect.members, value), "a registry")]
    arguments = tuple(image(argument) for argument in effect.arguments)
    register = functools.partial(effect.register, *arguments, **{k: image(v) for k, v in effect.keywords.items()})
    return [Operation((register,), (effect.remove, arguments[0]), effect.register.__qualname__)]


def _forgotten_levels() -> list[Operation]:
    return [Operation((dict.clear, cache), (dict.clear, cache), "a logger's cache") for cache in _caches()]


class Surroundings:
    """Watches the process-wide registries from its making to `restore`, which may be called twice."""

    def __init__(self) -> None:
        self.effects: list[Effect] = []
        self._lock = threading.Lock()
        self._open = True
        self._mappings = [(mapping, dict(mapping)) for mapping in _mappings()]
        self._overloads = _copied(getattr(typing, "_overload_registry", {}))
        self._loggers = {id(logger): logger for logger in _loggers()}
        self._lists = [(sequence, list(sequence)) for sequence in _lists()]
        self._hooks = [(owner, name, getattr(owner, name)) for owner, name in _HOOKS]
        self._watched: list[tuple[Any, str, Any, Any]] = []
        for owner, remove in ((atexit, atexit.unregister), (codecs, codecs.unregister)):
            self._watch(owner, "register", self._noting(owner.register, remove))
        for owner, name in _STARTERS:
            if hasattr(owner, name):
                self._watch(owner, name, self._no_threads(getattr(owner, name)))

    def _watch(self, owner: Any, name: str, watcher: Any) -> None:
        self._watched.append((owner, name, getattr(owner, name), watcher))
        setattr(owner, name, watcher)

    def _noting(self, real: Callable[..., Any], remove: Callable[..., Any]) -> Callable[..., Any]:
        ident = threading.get_ident()

        def register(*arguments: Any, **keywords: Any) -> Any:
            if threading.get_ident() != ident or not self._open:
                return real(*arguments, **keywords)
            self.effects.append(Call(real, remove, arguments, keywords))
            return arguments[0] if arguments else None

        return register

    def _no_threads(self, real: Callable[..., Any]) -> Callable[..., Any]:
        ident = threading.get_ident()

        def start_new_thread(*arguments: Any, **keywords: Any) -> Any:
            if threading.get_ident() != ident or not self._open:
                return real(*arguments, **keywords)
            raise SwapRefusedError(
                "Importing the new version starts a thread, which could not be taken back.",
                hint="Restart on the new version.",
                details={"blockers": ["importing the new version starts a thread"]},
            )

        return start_new_thread

    def restore(self) -> None:
        """Bring everything back; what the load did is in `effects` afterwards."""
        with self._lock:
            if not self._open:
                return
            self._open = False
        for owner, name, real, watcher in self._watched:
            if getattr(owner, name) is watcher:
                setattr(owner, name, real)
        for mapping, before in self._mappings:
            self._restore_mapping(mapping, before)
        for sequence, items in self._lists:
            self._restore_list(sequence, items)
        self._leave_new_loggers()
        for cache in _caches():
            cache.clear()
        for owner, name, value in self._hooks:
            if getattr(owner, name) is not value:
                setattr(owner, name, value)
        self._restore_typing()

    def _restore_typing(self) -> None:
        overloads = getattr(typing, "_overload_registry", None)
        if overloads is not None:
            overloads.clear()
            overloads.update(self._overloads)
        for cleanup in getattr(typing, "_cleanups", ()):
            # Typing's caches keep the classes that they were asked about.
            cleanup()

    def _leave_new_loggers(self) -> None:
        """A logger that the load has made stays, as whoever asks for its name would make it: with nothing set."""
        settings = {"level": logging.NOTSET, "propagate": True, "disabled": False}
        for logger in _loggers():
            if id(logger) in self._loggers:
                continue
            self._restore_mapping(vars(logger), {**vars(logger), **settings})
            for sequence in (logger.handlers, logger.filters):
                self._restore_list(sequence, [])

    def _restore_mapping(self, mapping: dict[Any, Any], before: dict[Any, Any]) -> None:
        for key, value in list(mapping.items()):
            if key not in before:
                self.effects.append(Entry(mapping, key, value))
                del mapping[key]
            elif before[key] is not value:
                self.effects.append(Entry(mapping, key, value))
                mapping[key] = before[key]

    def _restore_list(self, sequence: Any, before: list[Any]) -> None:
        added = _added(sequence, before)
        for item in added:
            if item not in before:  # else it is there already, in the words of another object
                self.effects.append(Item(sequence, item, in_front=sequence[0] is item))
            del sequence[next(place for place, one in enumerate(sequence) if one is item)]
        now = set(map(id, sequence))
        taken = [(place, item) for place, item in enumerate(before) if id(item) not in now and item not in sequence]
        for place, item in taken:
            sequence.insert(place, item)
        if (added or taken) and sequence is warnings.filters:
            warnings._filters_mutated()  # type: ignore[attr-defined]  # noqa: SLF001 - it keeps caches of them


def _added(sequence: Sequence[Any], before: Sequence[Any]) -> list[Any]:
    """Return what has been put into a list: not what took the place of its equal."""
    left = collections.Counter(map(id, before))
    found = []
    # From behind: what comes twice was mostly put in front.
    for item in reversed(sequence):
        if left[id(item)]:
            left[id(item)] -= 1
        else:
            found.append(item)
    found.reverse()
    return [item for item in found if sequence.count(item) > before.count(item)]


def _mappings() -> list[dict[Any, Any]]:
    found: list[dict[Any, Any]] = [
        copyreg.dispatch_table,
        copyreg._extension_registry,  # type: ignore[attr-defined]  # noqa: SLF001 - none of these has a public name
        copyreg._inverted_registry,  # type: ignore[attr-defined]  # noqa: SLF001
        logging._nameToLevel,  # noqa: SLF001
        logging._levelToName,  # noqa: SLF001
        *(vars(logger) for logger in _loggers()),
    ]
    database = mimetypes._db  # type: ignore[attr-defined]  # noqa: SLF001
    types_of = [mimetypes.types_map] if database is None else [*database.types_map, *database.types_map_inv]
    return [*found, *types_of]


def _lists() -> list[Any]:
    # Not the finders: an isolation shows the loaded code lists of its own.
    return [sys.path, warnings.filters, *_lists_of_loggers()]


def _lists_of_loggers() -> list[list[Any]]:
    return [sequence for logger in _loggers() for sequence in (logger.handlers, logger.filters)]


def _loggers() -> list[logging.Logger]:
    known = list(logging.root.manager.loggerDict.values())
    return [logging.root, *(logger for logger in known if isinstance(logger, logging.Logger))]


def _caches() -> list[dict[int, bool]]:
    """Return in which loggers remember which levels they are enabled for."""
    return [logger._cache for logger in _loggers()]  # type: ignore[attr-defined]  # noqa: SLF001 - no public way


_HOOKS: tuple[tuple[Any, str], ...] = ((sys, "excepthook"), (sys, "displayhook"), (threading, "excepthook"))


_STARTERS: tuple[tuple[Any, str], ...] = (
    (_thread, "start_new_thread"),
    (threading, "_start_new_thread"),
    (threading, "_start_joinable_thread"),
)
"""Every thread starts through one of these."""


def _copied(registry: Any) -> Any:
    """Copy a registry of registries, whose inner ones are written to in place."""
    made = copy.copy(registry)
    for key, value in registry.items():
        if isinstance(value, dict):
            made[key] = _copied(value)
    return made
