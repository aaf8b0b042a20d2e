import asyncio
import base64
import contextlib
import hashlib
import importlib
import importlib.metadata
import shutil
import sys
import threading
import zipfile

import pytest

from noodle_upgrade_core.config import load_settings
from noodle_upgrade_core.errors import (
    ComponentUnknownError,
    DrainTimeoutError,
    HarmDetectedError,
    MigrationError,
    SwapRefusedError,
    UpgradeBusyError,
    UpgradeDisabledError,
    ValidationFailedError,
)
from noodle_upgrade_core.model import Phase, UpgradeRequest, UpgradeStatus
from noodle_upgrade_core.upgrade import Upgrader
from noodle_upgrade_runtime import RuntimeUpgradeIntegration, handle
from noodle_upgrade_runtime.handles import process_handles

WHO = """
class Service:
    def who(self): return __version__
    def fails(self): return __version__ {fails}
"""


def pack(fable, version):
    """Make the wheel of a version that was written."""
    tree = fable.folder / version
    wheels = fable.folder / "wheels"
    wheels.mkdir(exist_ok=True)
    info = f"fable-{version}.dist-info"
    (tree / info / "WHEEL").write_text(
        "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    files = [p for p in sorted(tree.rglob("*")) if p.is_file() and "__pycache__" not in p.parts and p.name != "RECORD"]
    rows = []
    for file in files:
        data = file.read_bytes()
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.append(f"{file.relative_to(tree).as_posix()},sha256={digest},{len(data)}")
    (tree / info / "RECORD").write_text("\n".join([*rows, f"{info}/RECORD,,"]) + "\n")
    with zipfile.ZipFile(wheels / f"fable-{version}-py3-none-any.whl", "w") as archive:
        for file in [*files, tree / info / "RECORD"]:
            archive.write(file, file.relative_to(tree).as_posix())


@pytest.fixture
def stack(fable, announced, tmp_path):
    """An Upgrader of this process with `fable` 1.0 running and 2.0 to be had."""

    @contextlib.asynccontextmanager
    async def opened(**overrides):
        settings = load_settings(
            environ={},
            overrides={
                "runtime_upgrade.sources.wheel.locations": [str(fable.folder / "wheels")],
                "runtime_upgrade.sources.wheel.index": False,
                "runtime_upgrade.components.registry_path": str(tmp_path / "components"),
                "runtime_upgrade.approval.automatic": True,
                "runtime_upgrade.plugins.enabled": ["runtime"],
                "runtime.rehearsal": False,
                **{key.replace("__", "."): value for key, value in overrides.items()},
            },
        )
        async with Upgrader.open(settings, directory=tmp_path / "state") as upgrader:
            assert upgrader.plugins.failures == ()
            yield upgrader

    yield opened
    process_handles()._held.clear()


def request(version="2.0", **kwargs):
    return UpgradeRequest(**{"component_name": "fable", "target_version": version, "strategy": "immediate", **kwargs})


@pytest.fixture
def versions(fable):
    fable.run("1.0")
    for version, fails in (("1.0", ""), ("2.0", ""), ("2.1", "+ 1")):
        fable.write(version, WHO.format(fails=fails))
        pack(fable, version)
    return fable


def running(components):
    return {c.name: c.version for c in components}.get("fable")


def test_an_upgrade_and_a_rollback_through_the_whole_stack(versions, stack):
    async def main():
        async with stack() as upgrader:
            service = handle("fable", "fable:Service")
            plan = await upgrader.plan(request())
            assert plan.feasible, str(plan)
            assert plan.steps[0].verdict.mechanism == "generation"
            assert service.who() == "1.0"
            result = await upgrader.upgrade(plan)
            assert result.success, result.error
            assert (service.who(), running(await upgrader.components())) == ("2.0", "2.0")
            back = await upgrader.rollback("fable")
            assert back.success, back.error
            assert (service.who(), running(await upgrader.components())) == ("1.0", "1.0")
            assert not [name for name in sys.modules if name.startswith("fable@")]

    asyncio.run(main())


def test_what_the_program_imports_directly_is_changed_in_place_and_found_again_after_a_restart(versions, stack):
    async def main():
        async with stack(runtime__rehearsal=True) as upgrader:
            module = importlib.import_module("fable")
            service, who = module.Service(), module.Service().who
            plan = await upgrader.plan(request())
            assert plan.feasible, str(plan)
            assert plan.steps[0].verdict.mechanism == "patch"
            assert (who(), importlib.metadata.version("fable")) == ("1.0", "1.0")
            result = await upgrader.upgrade(plan)
            assert result.success, result.error
            assert (service.who(), who(), running(await upgrader.components())) == ("2.0", "2.0", "2.0")
            assert importlib.metadata.version("fable") == "2.0"
            path = list(sys.path)
            back = await upgrader.rollback("fable")
            assert back.success, back.error
            assert (service.who(), who(), running(await upgrader.components())) == ("1.0", "1.0", "1.0")
            assert importlib.metadata.version("fable") == "1.0"
            assert (await upgrader.upgrade(await upgrader.plan(request("2.1")))).success
            assert (await upgrader.upgrade(await upgrader.plan(request()))).success
            assert (service.who(), sys.path.count(path[0])) == ("2.0", 1)
            assert sum("store" in entry for entry in sys.path) == 1
        del sys.modules["fable"], module
        async with stack() as upgrader:
            assert importlib.import_module("fable").Service().who() == "2.0"
            assert running(await upgrader.components()) == "2.0"

    asyncio.run(main())


def test_a_component_that_somebody_never_leaves_is_refused_by_the_plan_already(fable, stack):
    leave, inside = threading.Event(), threading.Event()

    async def main():
        for version in ("1.0", "2.0"):
            fable.write(version, STAY)
            pack(fable, version)
        thread = threading.Thread(target=importlib.import_module("fable").Service().stay, args=(inside, leave))
        thread.name = "never-leaves"
        thread.start()
        inside.wait()
        try:
            async with stack(runtime__quiesce=0.1) as upgrader:
                plan = await upgrader.plan(request())
                assert not plan.feasible
                assert "never-leaves" in plan.steps[0].verdict.blockers[0]
            async with stack(runtime__quiesce=0.1, runtime__on_busy="force") as upgrader:
                plan = await upgrader.plan(request())
                assert plan.feasible
                assert "never-leaves" in plan.steps[0].verdict.warnings[0]
        finally:
            leave.set()
            thread.join()

    fable.run("1.0")
    asyncio.run(main())


GROWN = "class Service:\n    def __init__(self{more}): self.a = 1{field}\n    def who(self): return __version__\n"


def test_a_plan_that_is_refused_for_instances_that_live_says_what_to_do(fable, stack):
    async def main():
        fable.write("1.0", GROWN.format(more="", field=""))
        fable.write("2.0", GROWN.format(more=", unit", field="; self.unit = unit"))
        pack(fable, "1.0")
        pack(fable, "2.0")
        held = importlib.import_module("fable").Service()
        async with stack(runtime__rehearsal=True) as upgrader:
            verdict = (await upgrader.plan(request())).steps[0].verdict
            assert "would lack unit" in verdict.blockers[0]
            assert verdict.hint.startswith("Let go of these instances")
            del held
            assert (await upgrader.plan(request())).feasible

    fable.run("1.0")
    asyncio.run(main())


def test_a_bigger_heap_is_a_longer_pause_in_the_plan(versions, stack):
    async def pause():
        importlib.import_module("fable")
        async with stack() as upgrader:
            return (await upgrader.plan(request())).cost.pause_seconds

    before = asyncio.run(pause())
    kept = [[] for _ in range(400_000)]
    assert asyncio.run(pause()) > before + 0.05
    assert kept


def test_what_is_not_loaded_cannot_be_planned(versions, stack):
    async def main():
        async with stack() as upgrader:
            with pytest.raises(ComponentUnknownError):
                await upgrader.plan(request())

    asyncio.run(main())


def test_hot_swap_that_is_switched_off_is_refused_with_the_setting_named(versions, stack):
    async def main():
        async with stack(runtime_upgrade__hot_swap__enabled=False) as upgrader:
            service = handle("fable", "fable:Service")
            plan = await upgrader.plan(request())
            assert not plan.feasible
            assert "runtime_upgrade.hot_swap.enabled" in str(plan)
            result = await upgrader.upgrade(plan)
            assert isinstance(result.error, SwapRefusedError)
            assert service.who() == "1.0"

    asyncio.run(main())


def test_a_critical_component_is_stopped_at_strict_and_let_through_at_normal(versions, stack):
    async def main():
        async with stack(runtime__components__critical_components=["Fable"]) as upgrader:
            service = handle("fable", "fable:Service")
            strict = await upgrader.upgrade(await upgrader.plan(request()))
            assert isinstance(strict.error, ValidationFailedError)
            assert service.who() == "1.0"
            normal = await upgrader.upgrade(await upgrader.plan(request(validation_level="normal")))
            assert normal.success, normal.error
            assert service.who() == "2.0"

    asyncio.run(main())


def test_an_engine_or_a_parameter_that_does_not_exist_is_refused_by_name(versions, stack):
    async def main():
        async with stack() as upgrader:
            _service = handle("fable", "fable:Service")
            for name, value in (("runtime.mechanism", "teleport"), ("runtime.mechansim", "generation")):
                plan = await upgrader.plan(request(parameters={name: value}))
                assert not plan.feasible
                assert "teleport" in str(plan) or "did you mean runtime.mechanism" in str(plan)

    asyncio.run(main())


def test_a_version_that_raises_under_traffic_is_taken_back_by_itself(versions, stack):
    async def main():
        async with stack() as upgrader:
            service = handle("fable", "fable:Service")
            stop = asyncio.Event()

            async def traffic():
                while not stop.is_set():
                    with contextlib.suppress(TypeError):
                        service.fails()
                    await asyncio.sleep(0)

            task = asyncio.create_task(traffic())
            plan = await upgrader.plan(request("2.1", strategy="gradual", parameters={"bake": 5.0}))
            result = await upgrader.upgrade(plan)
            stop.set()
            await task
            assert isinstance(result.error, HarmDetectedError), result
            assert result.status is UpgradeStatus.ROLLED_BACK
            assert service.fails() == "1.0"
            assert service.fails.__func__.__name__ == "fails"

    asyncio.run(main())


def test_a_program_that_starts_again_imports_the_active_version(versions, stack):
    async def main():
        async with stack() as upgrader:
            service = handle("fable", "fable:Service")
            assert (await upgrader.upgrade(await upgrader.plan(request()))).success
            assert service.who() == "2.0"
        for name in [name for name in sys.modules if name.partition(".")[0].partition("@")[0] == "fable"]:
            del sys.modules[name]
        process_handles()._held.clear()
        async with stack() as upgrader:
            service = handle("fable", "fable:Service")
            assert (service.who(), running(await upgrader.components())) == ("2.0", "2.0")
            back = await upgrader.rollback("fable")
            assert back.success, back.error
            assert (service.who(), running(await upgrader.components())) == ("1.0", "1.0")

    asyncio.run(main())


def test_a_version_whose_files_were_lost_while_it_runs_is_still_known_and_cannot_be_changed_by_mistake(
    versions, stack, tmp_path
):
    async def main():
        importlib.import_module("fable")
        async with stack() as upgrader:
            assert (await upgrader.upgrade(await upgrader.plan(request()))).success
        del sys.modules["fable"]
        async with stack() as upgrader:
            service = importlib.import_module("fable").Service()
            assert (service.who(), running(await upgrader.components())) == ("2.0", "2.0")
            shutil.rmtree(tmp_path / "state" / "store")
            importlib.invalidate_caches()
            assert (service.who(), running(await upgrader.components())) == ("2.0", "2.0")
            result = await upgrader.upgrade(await upgrader.plan(request("2.1")))
            assert isinstance(result.error, SwapRefusedError), result
            assert "not found where it was imported from" in result.error.message
            assert (service.who(), running(await upgrader.components())) == ("2.0", "2.0")

    asyncio.run(main())


def test_what_was_imported_before_the_upgrader_opened_is_changed_live(versions, stack):
    async def main():
        async with stack() as upgrader:
            service = handle("fable", "fable:Service")
            assert (await upgrader.upgrade(await upgrader.plan(request()))).success
        for name in [name for name in sys.modules if name.partition(".")[0].partition("@")[0] == "fable"]:
            del sys.modules[name]
        process_handles()._held.clear()
        service = handle("fable", "fable:Service")
        assert service.who() == "1.0"
        async with stack() as upgrader:
            assert (service.who(), running(await upgrader.components())) == ("2.0", "2.0")

    asyncio.run(main())


def test_a_component_of_the_components_directory_needs_no_installation(fable, stack, tmp_path):
    async def main():
        for version in ("1.0", "2.0"):
            folder = tmp_path / "components" / "greeter" / version
            folder.mkdir(parents=True)
            (folder / "greeter_of_fable.py").write_text(
                f"__version__ = {version!r}\nclass Greeter:\n    def greet(self): return __version__\n"
            )
            (folder / "component.toml").write_text('entry_point = "greeter_of_fable:Greeter"\n')
        async with stack() as upgrader:
            greeter = handle("greeter")
            assert greeter.greet() == "2.0"
            plan = await upgrader.plan(request("1.0", component_name="greeter"))
            result = await upgrader.upgrade(plan)
            assert result.success, (result.error, str(plan))
            assert greeter.greet() == "1.0"

    asyncio.run(main())


def test_a_failing_migration_leaves_the_old_version_with_its_state(fable, stack):
    async def main():
        fable.run("1.0")
        for version, take in (("1.0", "self.n = state"), ("2.0", "raise OSError('no room')")):
            fable.write(
                version,
                "class Service:\n    n = 5\n"
                f"    def export_state(self): return self.n\n    def import_state(self, state): {take}\n",
            )
            pack(fable, version)
        async with stack() as upgrader:
            service = handle("fable", "fable:Service")
            service.n = 9
            result = await upgrader.upgrade(await upgrader.plan(request()))
            assert isinstance(result.error, MigrationError)
            assert (service.n, result.status) == (9, UpgradeStatus.FAILED)

    asyncio.run(main())


@pytest.mark.parametrize(("answer", "good"), [("True", True), ("None", True), ("False", False), ("1 / 0", False)])
def test_the_health_check_of_the_new_version_is_asked(fable, stack, tmp_path, answer, good):
    async def main():
        for version, says in (("1.0", "True"), ("2.0", answer)):
            folder = tmp_path / "components" / "greeter" / version
            folder.mkdir(parents=True)
            (folder / "greeter_of_fable.py").write_text(
                f"__version__ = {version!r}\nclass Greeter:\n    def greet(self): return __version__\n"
                f"def healthy(): return {says}\n"
            )
            (folder / "component.toml").write_text(
                'entry_point = "greeter_of_fable:Greeter"\nhealth_check = "greeter_of_fable:healthy"\n'
            )
        async with stack() as upgrader:
            greeter = handle("greeter")
            first = await upgrader.upgrade(await upgrader.plan(request("1.0", component_name="greeter")))
            assert first.success, first.error
            result = await upgrader.upgrade(await upgrader.plan(request("2.0", component_name="greeter")))
            assert result.success is good, result.error
            assert greeter.greet() == ("2.0" if good else "1.0")

    asyncio.run(main())


# --- RuntimeUpgradeIntegration -------------------------------------------------------------------------------------


def test_the_integration_upgrades_rolls_back_and_reports(versions, stack):
    async def main():
        async with stack() as upgrader:
            service = handle("fable", "fable:Service")
            async with RuntimeUpgradeIntegration(upgrader) as runtime:
                status = runtime.get_component_status("Fable")
                assert status == {
                    "name": "fable",
                    "version": "1.0",
                    "type": "runtime",
                    "hot_swappable": True,
                    "critical": False,
                    "upgrade_status": None,
                    "runtime_status": "running",
                }
                result = await runtime.upgrade_component("fable", "2.0", strategy="immediate", auto_approve=True)
                assert result.success, result.error
                status = runtime.get_component_status("fable")
                assert (status["version"], status["upgrade_status"]) == ("2.0", "completed")
                back = await runtime.rollback_component("fable", result.rollback_point)
                assert back.success, back.error
                status = runtime.get_component_status("fable")
                assert (status["version"], status["upgrade_status"], service.who()) == ("1.0", "rolled_back", "1.0")
                with pytest.raises(ComponentUnknownError):
                    runtime.get_component_status("nothing")

    asyncio.run(main())


def test_the_integration_that_is_switched_off_is_refused_by_name(versions, stack):
    async def main():
        async with stack(runtime__upgrade_integration__enabled=False) as upgrader:
            with pytest.raises(UpgradeDisabledError, match="switched off"):
                await RuntimeUpgradeIntegration(upgrader).initialize()

    asyncio.run(main())


def test_one_upgrade_per_component_and_as_many_as_allowed(versions, stack):
    async def main():
        async with stack(runtime__upgrade_integration__max_concurrent_upgrades=1) as upgrader:
            _service = handle("fable", "fable:Service")
            async with RuntimeUpgradeIntegration(upgrader) as runtime:
                first = asyncio.create_task(runtime.upgrade_component("fable", "2.0", "immediate", auto_approve=True))
                await asyncio.sleep(0)
                with pytest.raises(UpgradeBusyError, match="being changed"):
                    await runtime.upgrade_component("fable", "2.0")
                with pytest.raises(UpgradeBusyError, match="1 upgrades run"):
                    await runtime.upgrade_component("other", "2.0")
                assert (await first).success

    asyncio.run(main())


def test_what_is_loaded_is_read_again_by_itself(versions, stack):
    async def main():
        async with (
            stack(runtime__upgrade_integration__sync_interval=0.01) as upgrader,
            RuntimeUpgradeIntegration(upgrader) as runtime,
        ):
            with pytest.raises(ComponentUnknownError):
                runtime.get_component_status("fable")
            _service = handle("fable", "fable:Service")
            async with asyncio.timeout(20):
                while True:
                    with contextlib.suppress(ComponentUnknownError):
                        assert runtime.get_component_status("fable")["version"] == "1.0"
                        return
                    await asyncio.sleep(0)

    asyncio.run(main())


def test_a_canary_is_asked_for_its_health_before_it_has_all_the_traffic(fable, stack, tmp_path):
    async def main():
        for version, says in (("1.0", "True"), ("2.0", "False")):
            folder = tmp_path / "components" / "greeter" / version
            folder.mkdir(parents=True)
            (folder / "greeter_of_fable.py").write_text(
                f"__version__ = {version!r}\nclass Greeter:\n    def greet(self): return __version__\n"
                f"def healthy(): return {says}\n"
            )
            (folder / "component.toml").write_text(
                'entry_point = "greeter_of_fable:Greeter"\nhealth_check = "greeter_of_fable:healthy"\n'
            )
        async with stack() as upgrader:
            greeter = handle("greeter")
            await upgrader.upgrade(await upgrader.plan(request("1.0", component_name="greeter")))
            asked = request("2.0", component_name="greeter", strategy="gradual", parameters={"bake": 0.0})
            result = await upgrader.upgrade(await upgrader.plan(asked))
            assert isinstance(result.error, HarmDetectedError)
            assert result.operations[:3] == ("staged greeter", "shift to 10%", "probe the new version")
            assert greeter.greet() == "1.0"

    asyncio.run(main())


STAY = """
class Service:
    def who(self): return __version__
    def stay(self, inside, leave):
        inside.set()
        leave.wait(30)
        return self.who()
"""


@contextlib.contextmanager
def somebody_inside(fable):
    """A service with a thread inside its version 1.0; gives the service and what that call returns in the end."""
    fable.run("1.0")
    for version in ("1.0", "2.0"):
        fable.write(version, STAY)
        pack(fable, version)
    service, inside, leave, answers = handle("fable", "fable:Service"), threading.Event(), threading.Event(), []
    thread = threading.Thread(target=lambda: answers.append(service.stay(inside, leave)), name="stayer")
    thread.start()
    inside.wait()
    try:
        yield service, leave, answers
    finally:
        leave.set()
        thread.join()


def test_with_rollback_a_commit_waits_for_the_calls_inside_and_goes_back_when_they_stay(fable, stack):
    async def main():
        with somebody_inside(fable) as (service, leave, answers):
            async with stack(runtime__drain_timeout=0.05, runtime__on_drain_timeout="rollback") as upgrader:
                result = await upgrader.upgrade(await upgrader.plan(request()))
                assert isinstance(result.error, DrainTimeoutError)
                assert "stayer" in result.error.message
                assert (result.phase, service.who()) == (Phase.ROLLED_BACK, "1.0")
                leave.set()
                assert (await upgrader.upgrade(await upgrader.plan(request()))).success
                assert service.who() == "2.0"
        assert answers == ["1.0"]

    asyncio.run(main())


def test_with_force_a_commit_is_made_while_calls_are_inside_and_the_journal_remembers_them(fable, stack):
    async def main():
        with somebody_inside(fable) as (service, _, answers):
            async with stack(runtime__drain_timeout=0.05, runtime__on_drain_timeout="force") as upgrader:
                result = await upgrader.upgrade(await upgrader.plan(request()))
                assert result.success, result.error
                assert service.who() == "2.0"
                (committed,) = [
                    row for row in upgrader.journal.audit(result.upgrade_id) if row.phase is Phase.COMMITTED
                ]
                (mark,) = committed.evidence["marks"]
                assert mark["what"].startswith("forced")
                assert "stayer" in mark["blockers"][0]
        assert answers == ["1.0"]

    asyncio.run(main())


def test_who_keeps_an_old_version_is_named_when_the_time_is_over(versions, stack):
    async def main():
        async with stack(runtime__drain_timeout=0.0) as upgrader:
            told = asyncio.Event()
            loop = asyncio.get_running_loop()
            found = []

            def note(event):
                if event.kind == "upgrade.draining":
                    found.append(event)
                    loop.call_soon_threadsafe(told.set)

            upgrader.events.subscribe(note)
            service = handle("fable", "fable:Service")
            assert (await upgrader.upgrade(await upgrader.plan(request()))).success
            kept = service.who
            assert (await upgrader.upgrade(await upgrader.plan(request("2.1")))).success
            assert (await upgrader.upgrade(await upgrader.plan(request("2.0")))).success
            async with asyncio.timeout(20):
                await told.wait()
            assert "bound method Service.who" in found[0].message
            assert kept() == "2.0"

    asyncio.run(main())
