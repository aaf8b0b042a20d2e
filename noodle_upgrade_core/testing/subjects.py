"""What is checked: one plugin, loaded as a host would load it."""

from __future__ import annotations

import asyncio
import inspect
import tempfile
import types
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from attrs import frozen

import noodle_upgrade_core
from noodle_upgrade_core.errors import UpgradeError
from noodle_upgrade_core.hookspecs import Host
from noodle_upgrade_core.phases.runner import Runner
from noodle_upgrade_core.plugins import loading as plugins
from noodle_upgrade_core.plugins.loading import PluginInfo, PluginSet
from noodle_upgrade_core.testing.failures import ConformanceError
from noodle_upgrade_core.testing.samples import sample_host

__all__ = ["NAME", "Subject"]

NAME = "subject"
T = TypeVar("T")


@frozen(kw_only=True)
class Subject:
    """A plugin under test, with the options that its author gave to `conformance_checks`."""

    plugin: Any
    time_limit: float = 10.0
    allowed_imports: tuple[str, ...] = ()
    most_modules: int = 300
    settings: Any = None
    scenario: Callable[[], Any] | None = None

    @property
    def holder(self) -> Any:
        """The class, or the module, that holds the hooks."""
        return self.plugin if inspect.isclass(self.plugin) or inspect.ismodule(self.plugin) else type(self.plugin)

    @property
    def module(self) -> str:
        """The name of the module that an entry point would name."""
        holder = self.holder
        return str(holder.__name__ if isinstance(holder, types.ModuleType) else holder.__module__)

    @property
    def settings_class(self) -> type[Any] | None:
        """The plugin's settings class, if it has one."""
        found = inspect.getattr_static(self.holder, "settings", None)
        return found if inspect.isclass(found) else None

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Give a folder of its own, gone afterwards."""
        with tempfile.TemporaryDirectory(prefix="noodle-conformance-") as made:
            yield Path(made)

    def load(self, directory: Path, plugin: Any = None) -> PluginSet:
        """Load the plugin as a host does; raises `ConformanceError` with the reason when that fails."""

        def host(_info: PluginInfo, _section: str, settings_class: type[Any] | None) -> Host:
            settings = self.settings
            if settings is None and settings_class is not None:
                settings = settings_class()
            return sample_host(directory, settings=settings)

        loaded = plugins.load(
            (),
            core_version=noodle_upgrade_core.__version__,
            make_host=host,
            extra={NAME: self.plugin if plugin is None else plugin},
            import_limit=self.time_limit,
        )
        for failure in loaded.failures:
            raise ConformanceError(str(failure.error)) from failure.error
        return loaded

    def run(self, use: Callable[[Runner, Path], Awaitable[T]]) -> T:
        """Load the plugin, use it through a runner on a loop of its own, and close everything."""
        with self.folder() as directory:
            loaded = self.load(directory)
            try:
                return asyncio.run(self._used(loaded, directory, use))
            finally:
                closing = loaded.close()
                for failure in closing:
                    raise ConformanceError(str(failure.error)) from failure.error

    async def _used(self, loaded: PluginSet, directory: Path, use: Callable[[Runner, Path], Awaitable[T]]) -> T:
        runner = Runner(loaded, time_limit=self.time_limit)
        try:
            return await use(runner, directory)
        except UpgradeError as error:
            raise ConformanceError(str(error)) from error
        finally:
            await runner.close()
