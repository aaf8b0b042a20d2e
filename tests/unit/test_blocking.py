import asyncio
import inspect
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from noodle_upgrade_core import BlockingUpgrader, ComponentDescriptor, Phase, Upgrader, hookimpl, load_settings
from noodle_upgrade_core.documents import BlockingDocuments, Documents
from noodle_upgrade_core.errors import DocumentConflictError, LeaseHeldError

sys.path.insert(0, str(Path(__file__).parent))
from shelf import Shelf

OPENS_AND_CLOSES = {"announce", "close", "keep_lease"}
"""What `open` does by itself, before and after its block."""
OF_THE_TWIN = {"call", "loop", "upgrader"}
TWINS_OF_ITS_OWN = {"documents": "BlockingDocuments"}


@pytest.fixture
def settings(tmp_path):
    place = tmp_path / "components" / "lamp"
    place.mkdir(parents=True)
    for version in ("1.0", "1.1"):
        (place / f"{version}.py").write_text(f"__version__ = {version!r}\n")
    values = {
        "runtime_upgrade.components.registry_path": str(tmp_path / "components"),
        "runtime_upgrade.sources.order": ["directory"],
        "runtime_upgrade.state_directory": str(tmp_path / "state"),
        "runtime_upgrade.plugins.enabled": ["shelf"],
        "runtime_upgrade.drivers.strategy": "immediate",
    }
    return load_settings([], environ={}, overrides=values)


class Closing(Shelf):
    def __init__(self, **versions):
        super().__init__(**versions)
        self.closed = 0

    def close(self):
        self.closed += 1


def public(thing):
    return {name for name in {*dir(type(thing)), *vars(thing)} if not name.startswith("_")}


def test_the_twin_has_every_public_name_of_the_upgrader_with_the_same_parameters(settings):
    with BlockingUpgrader.open(settings, plugins={"shelf": Shelf(lamp="1.0")}) as twin:
        assert public(twin) - OF_THE_TWIN == public(twin.upgrader) - OPENS_AND_CLOSES
        for name in public(twin.upgrader) - OPENS_AND_CLOSES - {"open"}:
            ours, theirs = getattr(BlockingUpgrader, name), getattr(Upgrader, name, None)
            if inspect.isfunction(theirs):
                assert not inspect.iscoroutinefunction(ours), name
                due = inspect.signature(theirs)
                if name in TWINS_OF_ITS_OWN:
                    due = due.replace(return_annotation=TWINS_OF_ITS_OWN[name])
                assert inspect.signature(ours) == due, name
            else:
                assert getattr(twin, name) is getattr(twin.upgrader, name), name


def test_documents_have_a_twin_with_the_same_names_and_parameters():
    names = {name for name in dir(Documents) if not name.startswith("_")}
    assert {"keep", "get", "all", "audit", "drop"} == names == {n for n in dir(BlockingDocuments) if n[0] != "_"}
    for name in names:
        ours, theirs = getattr(BlockingDocuments, name), getattr(Documents, name)
        assert not inspect.iscoroutinefunction(ours), name
        assert inspect.signature(ours) == inspect.signature(theirs), name


def test_documents_of_the_twin_are_those_of_the_upgrader(settings):
    with BlockingUpgrader.open(settings, plugins={"shelf": Shelf(lamp="1.0")}) as twin:
        documents = twin.documents("deployment")
        kept = documents.keep("dep-1", {"state": "judging"}, who="alice", why="asked", expected=0)
        assert documents.get("dep-1") == twin.upgrader.documents("deployment").get("dep-1") == kept
        with pytest.raises(DocumentConflictError):
            documents.keep("dep-1", {}, who="bob", why="asked", expected=0)
        assert documents.all() == (kept,)
        assert documents.drop("dep-1", who="alice", why="over", expected=1) == kept
        assert [row.who for row in documents.audit("dep-1")] == ["alice", "alice"]


def test_what_the_twin_answers_is_what_the_upgrader_answers(settings):
    with BlockingUpgrader.open(settings, plugins={"shelf": Shelf(lamp="1.0")}) as twin:
        twin.register_component(ComponentDescriptor(name="lamp", version="1.0", description="over the desk"))
        assert [one.description for one in twin.discover_components()] == ["over the desk"]
        request = twin.request("lamp", "1.1", priority=9)
        assert (request.strategy, request.priority) == ("immediate", 9)
        result = twin.upgrade(request, approved_by="alice").raise_for_error()
        (point,) = twin.list_rollback_points("lamp")
        assert point == result.rollback_point
        assert twin.verify_rollback_point(point.rollback_id) == ()
        assert twin.expire_rollback_points() == 0
        assert twin.collect_garbage() >= 0
        assert twin.resume() == ()
        assert twin.journal.record(result.upgrade_id).phase is Phase.DONE


@pytest.fixture
def python_handles_interrupts():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt():
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


@pytest.mark.usefixtures("python_handles_interrupts")
def test_an_interruption_while_it_opens_closes_what_was_opened(settings):
    class Interrupting(Closing):
        @hookimpl
        def restore(self, active):
            interrupt()
            time.sleep(0.3)

    plugin = Interrupting(lamp="1.0")
    with pytest.raises(KeyboardInterrupt), BlockingUpgrader.open(settings, plugins={"shelf": plugin}):
        pytest.fail("it was opened all the same")
    assert plugin.closed == 1
    # Nobody holds the lease, and nothing of it runs any more.
    with BlockingUpgrader.open(settings, plugins={"shelf": Shelf(lamp="1.0")}) as twin:
        assert [one.name for one in twin.components()] == ["lamp"]
    assert not [thread for thread in threading.enumerate() if thread.name == "noodle-upgrader"]


def test_what_cannot_be_opened_raises_why_and_leaves_no_thread(settings):
    with BlockingUpgrader.open(settings):
        before = threading.active_count()
        with pytest.raises(LeaseHeldError), BlockingUpgrader.open(settings):
            pytest.fail("two manage one directory")
        assert threading.active_count() <= before


@pytest.mark.usefixtures("python_handles_interrupts")
def test_who_gives_up_waiting_for_an_upgrade_has_given_it_up(settings):
    shelf = Closing(lamp="1.0")
    with BlockingUpgrader.open(settings, plugins={"shelf": shelf}) as twin:
        threading.Timer(0.3, interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            twin.upgrade(twin.request("lamp", "1.1"))  # it waits for somebody's approval
        until = time.monotonic() + 10
        while twin.get_upgrade_status()["active"] and time.monotonic() < until:
            time.sleep(0.02)
        (row,) = twin.get_upgrade_history()
        assert row["phase"] == Phase.ABORTED
    assert shelf.versions["lamp"] == "1.0"


def test_a_coroutine_that_raises_is_not_cancelled(settings):
    async def fails():
        await asyncio.sleep(0)
        raise LookupError("mine")

    with BlockingUpgrader.open(settings) as twin, pytest.raises(LookupError, match="mine"):
        twin.call(fails())
