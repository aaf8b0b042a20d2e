"""A component that lies in a namespace shares that package with others, which must not notice anything."""

import importlib
import sys

import pytest

from noodle_upgrade_core.model import ComponentDescriptor
from noodle_upgrade_runtime.engine import Change
from noodle_upgrade_runtime.names import Names
from noodle_upgrade_runtime.operations import Script
from noodle_upgrade_runtime.patch import PatchEngine

SPACE = "changeling_space"


class Shared:
    """Two distributions in one namespace: `event`, which changes, and `interface`, which stays."""

    def __init__(self, folder):
        self.folder = folder
        self.script = None
        self.parameters = {}

    def write(self, where, name, text):
        path = self.folder.joinpath(where, SPACE, *name.split("."))
        path.mkdir(parents=True, exist_ok=True)
        (path / "__init__.py").write_text(text.replace("SPACE", SPACE))

    def load(self, *names):
        sys.path[:0] = [str(self.folder / "old"), str(self.folder / "other")]
        importlib.invalidate_caches()
        return [importlib.import_module(f"{SPACE}.{name}") for name in names]

    def change(self, *names):
        return Change(
            component=ComponentDescriptor(name="changeling-event", version="1.0"),
            from_version="1.0",
            to_version="2.0",
            top_levels=(SPACE,),
            import_names=tuple(f"{SPACE}.{name}" for name in names),
            new_tree=self.folder / "new",
            old_tree=self.folder / "old",
        )

    def upgrade(self, *names):
        prepared = PatchEngine().stage((self.change(*names),), cancelled=lambda: False)
        self.script = Script(prepared.operations())
        self.script.apply()
        return prepared


@pytest.fixture
def shared(tmp_path):
    path, modules = list(sys.path), set(sys.modules)
    made = Shared(tmp_path)
    made.write("other", "interface", "REGISTRY = []\ndef provided(): return 'interface'\n")
    yield made
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.partition(".")[0] == SPACE:
            del sys.modules[name]


def test_only_the_component_changes_and_its_neighbours_stay_as_they_are(shared):
    shared.write("old", "event", "def version(): return 1\n")
    shared.write("new", "event", "def version(): return 2\n")
    event, interface = shared.load("event", "interface")
    interface.REGISTRY.append("mine")
    version = event.version
    shared.upgrade("event")
    assert (version(), event.version()) == (2, 2)
    assert sys.modules[f"{SPACE}.interface"] is interface
    assert interface.REGISTRY == ["mine"]
    shared.script.revert()
    assert version() == 1
    assert sys.modules[f"{SPACE}.interface"] is interface


def test_a_part_that_was_not_imported_yet_is_found_in_the_new_version(shared):
    shared.write("old", "event", "")
    shared.write("new", "event", "")
    shared.write("new", "event.late", "WHO = 'new'\n")
    shared.load("event", "interface")
    shared.upgrade("event")
    assert importlib.import_module(f"{SPACE}.event.late").WHO == "new"


@pytest.mark.parametrize(
    "use",
    [
        "import SPACE.event.inner\ndef who(): return SPACE.event.inner.WHO\n",
        "from SPACE import event, interface\ndef who(): return (event.inner.WHO, interface.provided())[0]\n",
        "import SPACE.interface\nfrom SPACE.event import inner\ndef who(): return SPACE.event.inner.WHO\n",
        "from . import inner\ndef who(): return inner.WHO\n",
        "import importlib\ndef who(): return importlib.import_module('SPACE.event.inner').WHO\n",
    ],
)
def test_however_the_new_version_imports_through_the_namespace_it_finds_itself(shared, use):
    for where, version in (("old", 1), ("new", 2)):
        shared.write(where, "event", "from SPACE.event import inner\n" + use + f"SEEN = inner.WHO, {version}\n")
        shared.write(where, "event.inner", f"WHO = {version}\n")
    event, _ = shared.load("event", "interface")
    assert (event.who(), event.SEEN) == (1, (1, 1))
    shared.upgrade("event")
    assert (event.who(), event.SEEN) == (2, (2, 2))
    assert event.SEEN == (2, 2)
    shared.script.revert()
    assert (event.who(), event.SEEN) == (1, (1, 1))
    namespace = sys.modules[SPACE]
    assert namespace.event is event
    assert vars(namespace)["interface"] is sys.modules[f"{SPACE}.interface"]


def test_a_second_root_that_comes_or_goes_is_bound_in_the_namespace_and_taken_away_again(shared):
    shared.write("old", "event", "")
    shared.write("old", "event_gone", "")
    shared.write("new", "event", "import SPACE.event_come\n")
    shared.write("new", "event_come", "WHO = 'come'\n")
    shared.load("event", "event_gone", "interface")
    namespace = sys.modules[SPACE]
    shared.upgrade("event", "event_gone", "event_come")
    assert namespace.event_come.WHO == "come"
    assert not hasattr(namespace, "event_gone")
    assert hasattr(namespace, "interface")
    shared.script.revert()
    assert hasattr(namespace, "event_gone")
    assert not hasattr(namespace, "event_come")


def test_names_tell_what_is_a_components_own():
    names = Names(["jinja2", "google.cloud.storage"])
    assert [n in names for n in ("jinja2", "jinja2.lexer", "jinja2_time", "google", "google.cloud", "google.cloud.storage.v1")] == [
        True, True, False, False, False, True,
    ]  # fmt: skip
    assert names.namespaces() == {"google", "google.cloud"}
    assert names.root_of("google.cloud.storage.v1") == "google.cloud.storage"
