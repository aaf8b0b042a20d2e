from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from announcing import announce
from shop import Running, running


@pytest.fixture(scope="session", autouse=True)
def _announced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Make the entry points of the core and of this plugin known, also where only their source is on the path."""
    site = tmp_path_factory.mktemp("site")
    announce(site)
    sys.path.append(str(site))
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([*filter(None, [before]), str(site)])
    yield
    sys.path.remove(str(site))
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("NOODLE_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Running]:
    """A shop that runs and is controlled at a Unix socket."""
    with running(tmp_path) as made:
        yield made
