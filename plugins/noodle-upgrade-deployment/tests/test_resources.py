import asyncio
import threading
import time
from pathlib import Path

import psutil
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from noodle_upgrade_core import Severity
from noodle_upgrade_core.errors import InvalidRequestError
from noodle_upgrade_deployment.cgroups import ControlGroups, processor_seconds
from noodle_upgrade_deployment.resources import ResourceError, Resources, Usage, exceeded

GIB = 1 << 30
NOTHING = ControlGroups(())


def read(resources: Resources) -> Usage:
    return asyncio.run(resources.read())


# --- this machine ----------------------------------------------------------------------------------------------------


def test_what_is_read_is_what_the_machine_uses(tmp_path):
    usage = read(Resources(tmp_path, seconds=0.1, groups=NOTHING))
    memory = psutil.virtual_memory()
    assert usage.memory_usage == pytest.approx(100.0 * (1 - memory.available / memory.total), abs=5.0)
    assert usage.disk_usage == pytest.approx(psutil.disk_usage(str(tmp_path)).percent, abs=1.0)
    assert 0.0 <= usage.cpu_usage <= 100.0


def test_a_processor_that_is_kept_busy_shows(tmp_path):
    over = threading.Event()

    def busy():
        while not over.is_set():
            sum(range(1000))

    worker = threading.Thread(target=busy, daemon=True)
    worker.start()
    try:
        usage = read(Resources(tmp_path, seconds=1.0, groups=NOTHING))
    finally:
        over.set()
        worker.join()
    assert usage.cpu_usage > 70.0 / (psutil.cpu_count() or 1)


def test_reading_does_not_stop_the_event_loop(tmp_path):
    async def reading():
        task, longest, before = asyncio.ensure_future(Resources(tmp_path, seconds=0.5).read()), 0.0, time.monotonic()
        while not task.done():
            await asyncio.sleep(0.01)
            longest, before = max(longest, time.monotonic() - before), time.monotonic()
        return longest

    assert asyncio.run(reading()) < 0.4


def test_a_directory_that_is_not_there_yet_is_on_the_disk_of_the_one_around_it(tmp_path):
    here, there = (read(Resources(place, seconds=0.05)) for place in (tmp_path, tmp_path / "not" / "yet"))
    assert here.disk_usage == pytest.approx(there.disk_usage, abs=1.0)


def test_what_cannot_be_read_is_an_error_and_not_a_number(tmp_path, monkeypatch):
    def gone(_path):
        raise OSError("stale file handle")

    monkeypatch.setattr(psutil, "disk_usage", gone)
    with pytest.raises(ResourceError, match=r"disk is in use cannot be read \(OSError: stale file handle\)"):
        read(Resources(tmp_path, seconds=0.05))


def test_a_file_system_that_hangs_is_given_up(tmp_path, monkeypatch):
    over = threading.Event()
    monkeypatch.setattr(psutil, "disk_usage", lambda _path: over.wait(30))
    monkeypatch.setattr("noodle_upgrade_deployment.resources._LIMIT_SECONDS", 0.2)
    try:
        with pytest.raises(ResourceError, match=r"within 0\.2 s"):
            read(Resources(tmp_path, seconds=0.05))
    finally:
        over.set()


def test_an_interval_that_says_nothing_is_refused(tmp_path):
    for wrong in (0.0, -1, float("nan"), "1"):
        with pytest.raises(InvalidRequestError, match="seconds must be"):
            Resources(tmp_path, seconds=wrong)


# --- a container: real files, as Linux writes them -------------------------------------------------------------------


class Groups:
    """A tree of control groups below a folder, and a process in one of them."""

    def __init__(self, root: Path, own: str = "/pod/shop") -> None:
        self.root = root / "cgroup"
        self.membership = root / "membership"
        self.membership.write_text(f"12:memory:/elsewhere\n0::{own}\n")
        self.root.mkdir()

    def write(self, group: str, **files: str) -> Path:
        folder = self.root / group
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name.replace("_", ".", 1)).write_text(text)
        return folder

    @property
    def found(self) -> ControlGroups:
        return ControlGroups.of_this_process(root=self.root, membership=self.membership)


@pytest.fixture
def groups(tmp_path):
    return Groups(tmp_path)


def test_a_containers_limit_counts_where_it_is_lower_than_the_machines_memory(groups, tmp_path):
    groups.write("pod/shop", memory_max="1048576\n", memory_current="1000000\n")
    usage = read(Resources(tmp_path, seconds=0.05, groups=groups.found))
    assert usage.memory_usage == pytest.approx(95.37, abs=0.01)


def test_a_limit_above_the_machines_memory_is_none(groups, tmp_path):
    groups.write("pod/shop", memory_max=f"{1 << 60}\n", memory_current=f"{1 << 59}\n")
    plain = read(Resources(tmp_path, seconds=0.05, groups=NOTHING)).memory_usage
    assert read(Resources(tmp_path, seconds=0.05, groups=groups.found)).memory_usage == pytest.approx(plain, abs=5.0)


def test_pages_of_files_that_nobody_uses_are_not_in_use(groups):
    stat = "anon 400\ninactive_file 500\nactive_file 100\n"
    groups.write("pod/shop", memory_max="1000\n", memory_current="1000\n", memory_stat=stat)
    assert groups.found.memory() == (500, 1000)


def test_the_group_that_is_nearest_to_its_limit_counts_whether_own_or_around(groups):
    groups.write("pod", memory_max="1000\n", memory_current="900\n")
    groups.write("pod/shop", memory_max="500\n", memory_current="100\n")
    assert groups.found.memory() == (900, 1000)


def test_without_limits_there_are_none(groups):
    groups.write("pod/shop", memory_max="max\n", memory_current="900\n", cpu_max="max 100000\n")
    assert groups.found.memory() is None
    assert groups.found.processors() is None


def test_in_a_container_that_does_not_see_its_own_path_the_root_is_its_group(tmp_path):
    for own in ("/kubepods/pod1", "/../../pod1", "/"):
        place = tmp_path / f"case{len(own)}"
        place.mkdir()
        groups = Groups(place, own)
        groups.write(".", memory_max="1000\n", memory_current="700\n")
        assert groups.found.memory() == (700, 1000)


def test_a_machine_with_other_control_groups_or_none_has_no_limits(tmp_path):
    assert ControlGroups.of_this_process(root=tmp_path, membership=tmp_path / "none") == NOTHING
    old = tmp_path / "old"
    old.write_text("4:memory:/x\n")
    assert ControlGroups.of_this_process(root=tmp_path, membership=old) == NOTHING


def test_processors_time_counts_against_the_quota(groups, tmp_path):
    """Two thousand processors may be used, and are: whatever else the machine does, its container is full."""
    folder = groups.write("pod/shop", cpu_max="200000000 100000\n", cpu_stat="usage_usec 1000000\nuser_usec 5\n")
    groups.write("pod", cpu_max="max 100000\n")
    assert groups.found.processors() == (2000.0, folder)
    assert processor_seconds(folder) == 1.0

    async def reading():
        task = asyncio.ensure_future(Resources(tmp_path, seconds=0.4, groups=groups.found).read())
        await asyncio.sleep(0.2)
        (folder / "cpu.stat").write_text(f"usage_usec {3_000 * 1_000_000}\n")
        return await task

    assert asyncio.run(reading()).cpu_usage == 100.0


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_text_in_those_files_is_too_strange(tmp_path_factory, limit, current):
    groups = Groups(tmp_path_factory.mktemp("groups"))
    folder = groups.root / "pod/shop"
    folder.mkdir(parents=True)
    for name, text in (("memory.max", limit), ("memory.current", current), ("memory.stat", limit), ("cpu.max", limit)):
        (folder / name).write_text(text, encoding="utf-8", errors="replace")
    groups.found.memory()
    groups.found.processors()


# --- thresholds ------------------------------------------------------------------------------------------------------

MOST = Usage(cpu_usage=80.0, memory_usage=80.0, disk_usage=90.0)


def test_thresholds_are_the_most_that_is_allowed_and_what_is_more_is_said_with_figures():
    assert exceeded(MOST, MOST) == ()
    (found,) = exceeded(evolve(MOST, memory_usage=92.34), MOST)
    assert (found.severity, found.code, found.subject) == (Severity.ERROR, "resources.memory_usage", "memory_usage")
    assert found.message == "92.3 % of the memory is in use, and at most 80 % may be."
    everything = exceeded(Usage(cpu_usage=99.0, memory_usage=99.0, disk_usage=99.0), MOST)
    assert [one.subject for one in everything] == ["cpu_usage", "memory_usage", "disk_usage"]


def test_a_hundred_percent_lets_everything_pass():
    full = Usage(cpu_usage=100.0, memory_usage=100.0, disk_usage=100.0)
    assert exceeded(full, full) == ()


def test_this_machine_is_held_to_its_thresholds(tmp_path):
    usage = read(Resources(tmp_path, seconds=0.1))
    nothing = Usage(cpu_usage=100.0, memory_usage=0.0, disk_usage=100.0)
    assert [one.subject for one in exceeded(usage, nothing)] == ["memory_usage"]
