"""Putting an Upgrader together from its settings: journal, store, drivers, plugins, sources."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noodle_upgrade_core import __version__
from noodle_upgrade_core.config.loading import Settings
from noodle_upgrade_core.drivers import Drivers
from noodle_upgrade_core.errors import DriverUnknownError
from noodle_upgrade_core.events import EventBus, EventKind
from noodle_upgrade_core.hookspecs import Host
from noodle_upgrade_core.journal.contract import Journal, take_lease
from noodle_upgrade_core.phases.runner import Runner
from noodle_upgrade_core.plugins import loading as plugin_sets
from noodle_upgrade_core.plugins.loading import PluginInfo, PluginSet
from noodle_upgrade_core.sources.chain import InstalledSource, Source, Sources
from noodle_upgrade_core.store.content import ContentStore
from noodle_upgrade_core.traffic import Gauge

if TYPE_CHECKING:
    from noodle_upgrade_core.upgrade import Upgrader

__all__ = ["assemble", "check_drivers", "open_journal", "open_store"]

logger = logging.getLogger("noodle_upgrade")


def open_store(settings: Settings, directory: Path) -> ContentStore:
    """Return the content store of a state directory, with the settings' limits."""
    limits = settings.runtime_upgrade.limits
    return ContentStore(
        directory / "store",
        max_bytes=limits.max_artifact_bytes,
        max_unpacked_bytes=limits.max_unpacked_bytes,
        max_files=limits.max_files,
    )


def open_journal(settings: Settings, directory: Path, drivers: Drivers) -> Journal:
    """Open the journal of a state directory, without a lease: enough for looking."""
    journal: Journal = drivers.make("journals", settings.drivers.journal, path=directory / "journal.db")
    return journal.open()


def check_drivers(settings: Settings, drivers: Drivers) -> None:
    """Raise `DriverUnknownError` for a name in the settings that no driver has; none of them is imported.

    An upgrade that is under way is no time to find out that nobody can decide on it.
    """
    groups = {"journal": "journals", "decider": "deciders", "judge": "judges", "strategy": "strategies"}
    for key, group in groups.items():
        setting = f"stack.{key}" if getattr(settings.stack, key, "") else f"runtime_upgrade.drivers.{key}"
        try:
            drivers.info(group, getattr(settings.drivers, key))
        except DriverUnknownError as error:
            raise DriverUnknownError(
                f"{setting} cannot be used: {error.message}",
                hint=error.hint,
                safe="",
                details={**error.details, "setting": setting, "origin": settings.origins.get(setting, "default")},
            ) from error


async def assemble(
    made: type[Upgrader],
    settings: Settings,
    plugins: Mapping[str, object],
    drivers: Mapping[str, Mapping[str, Any]],
    directory: Path | None,
) -> Upgrader:
    """Make an Upgrader; on failure everything that was opened is closed again."""
    place = Path(directory or settings.runtime_upgrade.state_directory).absolute()  # noqa: ASYNC240 - no I/O but the cwd
    logging.getLogger("noodle_upgrade").setLevel(settings.runtime_upgrade.log_level)
    known = Drivers(extra=drivers)
    check_drivers(settings, known)
    events, store = EventBus(), open_store(settings, place)
    journal = await asyncio.to_thread(open_journal, settings, place, known)
    try:
        await asyncio.to_thread(take_lease, journal)
        gatherer = _Gatherer(settings=settings, place=place, store=store, drivers=known, events=events)
        plugin_set = await asyncio.to_thread(gatherer.load, plugins)
        runner = Runner(plugin_set, time_limit=settings.runtime_upgrade.plugins.hook_timeout, emit=events.emit)
        events.subscribe(runner.tell)
        for failure in plugin_set.failures:
            logger.warning("the plugin %s takes no part: %s", failure.info.name, failure.error)
            events.emit(EventKind.PLUGIN_FAILED, message=failure.error.message, data=failure.error.to_wire())
        return made(
            settings=gatherer.settings,
            directory=place,
            journal=journal,
            store=store,
            drivers=known,
            plugins=plugin_set,
            sources=_sources(settings, store, known),
            runner=runner,
            events=events,
            gauge=Gauge(),
        )
    except BaseException:
        await asyncio.to_thread(journal.close)
        raise


class _Gatherer:
    """Loads plugins, each with its section of the settings."""

    def __init__(
        self, *, settings: Settings, place: Path, store: ContentStore, drivers: Drivers, events: EventBus
    ) -> None:
        self.settings = settings
        self.place = place
        self.store = store
        self.drivers = drivers
        self.events = events

    def load(self, extra: Mapping[str, object]) -> PluginSet:
        """Import what the settings let in, read its settings, and make it."""
        chosen = self.settings.runtime_upgrade.plugins
        candidates = plugin_sets.collect(
            plugin_sets.index(),
            enabled=chosen.enabled,
            disabled=chosen.disabled,
            required=chosen.required,
            core_version=__version__,
            extra=extra,
            import_limit=chosen.import_timeout,
        )
        self.settings = self.settings.claim(candidates.sections)
        return candidates.make(self.host)

    def host(self, info: PluginInfo, section: str, settings_class: type[Any] | None) -> Host:
        """Return what a plugin is made with."""
        folder = self.place / "plugins" / info.name
        with contextlib.suppress(OSError):  # without room for it the plugin can still do what needs no file
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Host(
            settings=None if settings_class is None else self.settings.section(section),
            core=self.settings.runtime_upgrade,
            directory=folder,
            store=self.store.root,
            drivers=self.drivers,
            emit=self.events.emit,
        )


def _sources(settings: Settings, store: ContentStore, drivers: Drivers) -> Sources:
    """Make the configured sources, after what is installed: it is at hand, and rollback points are captured from it."""
    core = settings.runtime_upgrade
    wheel = core.sources.wheel

    def make(name: str) -> Source:
        source: Source = drivers.make(
            "sources",
            name,
            store=store,
            locations=wheel.locations,
            index=wheel.index,
            pip_timeout=wheel.pip_timeout,
            registry_path=core.components.registry_path,
        )
        return source

    return Sources((InstalledSource(store=store), *map(make, core.sources.order)), make=make)
