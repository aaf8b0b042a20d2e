"""Fixtures for tests of plugins. pytest loads this in every run: everything heavy is imported when it is used."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from noodle_upgrade_core.blocking import BlockingUpgrader
    from noodle_upgrade_core.hookspecs import Host, UpgradeContext

__all__ = ["noodle_context", "noodle_host", "noodle_upgrader"]


@pytest.fixture
def noodle_host(tmp_path: Path) -> Callable[..., Host]:
    """Give a function that makes a `Host` in a folder of this test: `noodle_host(settings=…)`."""
    from noodle_upgrade_core.testing.samples import sample_host  # noqa: PLC0415 - see above

    return partial(sample_host, tmp_path)


@pytest.fixture
def noodle_context(tmp_path: Path) -> Callable[..., UpgradeContext]:
    """Give a function that makes an `UpgradeContext`: `noodle_context(cancelled=True)`."""
    from noodle_upgrade_core.testing.samples import sample_context  # noqa: PLC0415 - see above

    return partial(sample_context, tmp_path)


@pytest.fixture
def noodle_upgrader(tmp_path: Path) -> Iterator[Callable[..., BlockingUpgrader]]:
    """Give a function that opens a real Upgrader in a folder of this test, closed at its end.

    `noodle_upgrader(plugins={"mine": Mine}, **{"runtime_upgrade.soak.seconds": 1.0})`: other keywords than `plugins`
    and `drivers` are settings. Upgrades are approved automatically; environment variables and files are not read.
    """
    from noodle_upgrade_core.blocking import BlockingUpgrader  # noqa: PLC0415 - see above
    from noodle_upgrade_core.config.loading import load_settings  # noqa: PLC0415 - see above

    with contextlib.ExitStack() as opened:

        def open_one(
            *,
            plugins: Mapping[str, object] | None = None,
            drivers: Mapping[str, Mapping[str, Any]] | None = None,
            **values: Any,
        ) -> BlockingUpgrader:
            settings = load_settings([], environ={}, overrides={"runtime_upgrade.approval.automatic": True, **values})
            return opened.enter_context(
                BlockingUpgrader.open(settings, plugins=plugins, drivers=drivers, directory=tmp_path / "noodle")
            )

        yield open_one
