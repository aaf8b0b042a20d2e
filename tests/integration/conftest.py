import shutil
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import greetings
import installing
from programs import environment

CONFIG = """
[runtime_upgrade.sources.wheel]
locations = ["{wheels}"]
index = false
"""


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    """Every version of the two libraries, as wheels in a folder."""
    return greetings.shelf(tmp_path_factory.mktemp("wheels"))


@pytest.fixture(scope="session")
def ours(tmp_path_factory):
    """A folder with a wheel of each of our own distributions, built from these sources."""
    folder = tmp_path_factory.mktemp("ours")
    for name, source in installing.DISTRIBUTIONS.items():
        wheel = installing.wheel_of(source, tmp_path_factory.mktemp(name))
        wheel.rename(folder / wheel.name)
    return folder


@pytest.fixture(scope="session")
def site(tmp_path_factory, wheels):
    """A folder with version 1.0 of both installed."""
    folder = tmp_path_factory.mktemp("site")
    return greetings.install(folder, *sorted(wheels.glob("*-1.0-*.whl")))


@pytest.fixture(scope="session")
def config(wheels):
    """The settings: versions come from our own wheels only."""
    return CONFIG.format(wheels=wheels)


@pytest.fixture(scope="module")
def place(tmp_path_factory, site):
    """Make a folder with the services in it, and the variables by which a program finds the libraries."""

    def make(name="program", *paths, **more):
        folder = tmp_path_factory.mktemp(name)
        for service in (HERE / "services").glob("*.py"):
            shutil.copy(service, folder)
        path = ":".join(map(str, [*paths, site]))
        return folder, environment(PYTHONPATH=path, ACME_GATE=folder / "gate", **more)

    return make
