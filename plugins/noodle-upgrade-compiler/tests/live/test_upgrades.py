"""Phases upgraded live, by the runtime plugin, under compilations that go on."""

import asyncio
import contextlib
import json
import shutil
import threading
import tomllib
from pathlib import Path

import pytest
from attrs import evolve

from noodle_upgrade_compiler.building import build
from noodle_upgrade_compiler.compiler import Compiler, set_process_compiler
from noodle_upgrade_compiler.integration import CompilerRuntimeUpgradeIntegration
from noodle_upgrade_compiler.versions import BUNDLED
from noodle_upgrade_core import Upgrader, UpgradeRequest, load_settings
from noodle_upgrade_core.errors import ComponentUnknownError, DrainTimeoutError, UpgradeError

SOURCE = "let x = {number}; def f(a) {{ return a + x; }} print(f(1));"


class Load:
    """Compilations from several threads, each of whose results has to be whole."""

    def __init__(self, compiler, threads=4):
        self.compiler, self.failed, self.versions, self.count = compiler, [], set(), 0
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(threads)]

    def _run(self, thread):
        number = 0
        while not self._over.is_set():
            number += 1
            result = self.compiler.compile(SOURCE.format(number=number % 7), f"{thread}-{number % 7}.noodle")
            self.versions.add(tuple(result.statistics["component_versions"].values()))
            self.count += 1
            if not result.success:
                self.failed.append(result.errors)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        for thread in self._threads:
            thread.join(10)


def opened(tmp_path, **overrides):
    settings = load_settings(
        overrides={
            "runtime_upgrade.components.registry_path": str(tmp_path / "components"),
            **overrides,
        }
    )
    return Upgrader.open(settings, directory=tmp_path / "state")


def request(version="1.1.0", component="lexer", **more):
    return UpgradeRequest(
        component_name=component,
        target_version=version,
        validation_level="permissive",
        **{"strategy": "immediate", **more},
    )


async def upgraded(upgrader, wanted):
    return await upgrader.upgrade(await upgrader.plan(wanted), approved_by="test")


def own_version(tmp_path, version, phase="lexer", edit=None, of="1.0.0"):
    """A version of somebody's own, in the components directory."""
    folder = tmp_path / "components" / phase / version
    shutil.copytree(BUNDLED / phase / of, folder, ignore=shutil.ignore_patterns("__pycache__"))
    for path in folder.rglob("*.py"):
        text = path.read_text().replace(f'__version__ = "{of}"', f'__version__ = "{version}"')
        if edit is not None and path.stem == "noodle_lexer":
            before, text = text, edit(text)
            assert text != before, "the edit finds what it is to change"
        path.write_text(text)
    return folder


def go_to(tmp_path, version):
    """Upgrade the lexer, which has to succeed."""

    async def run():
        async with opened(tmp_path) as upgrader:
            result = await upgraded(upgrader, request(version))
            assert result.success, result.error

    asyncio.run(run())


async def _goes_there_and_back(compiler, tmp_path, strategy):
    parameters = {} if strategy == "immediate" else {"bake": 0.2, "percentage": 50, "judge.calls": 5}
    async with opened(tmp_path) as upgrader:
        with Load(compiler) as load:
            result = await upgraded(upgrader, request(strategy=strategy, parameters=parameters))
            assert result.success, result.error
            assert compiler.current.versions["lexer"] == "1.1.0"
            assert compiler.compile("print(0xff);", "new.noodle").success
            back = await upgrader.rollback("lexer")
            assert back.success, back.error
        assert compiler.current.versions["lexer"] == "1.0.0"
        assert not compiler.compile("print(0xff);", "old.noodle").success
    assert not load.failed
    assert load.versions <= {("1.0.0",) * 4, ("1.1.0", "1.0.0", "1.0.0", "1.0.0")}


@pytest.mark.parametrize("strategy", ["immediate", "gradual"])
def test_a_phase_goes_to_another_version_and_back_under_load(compiler, tmp_path, strategy):
    asyncio.run(_goes_there_and_back(compiler, tmp_path, strategy))


def test_the_phases_are_components_each_of_which_needs_the_one_before(compiler, tmp_path):
    async def look():
        async with opened(tmp_path) as upgrader:
            return {one.name: one for one in await upgrader.components() if one.component_type == "compiler"}

    found = asyncio.run(look())
    assert set(found) == {"lexer", "parser", "optimizer", "bytecode_generator"}
    assert [need.name for need in found["optimizer"].dependencies] == ["parser"]
    assert found["lexer"].critical
    assert not found["optimizer"].critical
    assert found["lexer"].metadata["features"] == ["streaming", "error_recovery", "optimization"]


def test_a_version_of_ones_own_is_found_in_the_components_directory(compiler, tmp_path):
    own_version(tmp_path, "3.0.0", edit=lambda text: text.replace('"let def', '"var let def'))

    go_to(tmp_path, "3.0.0")
    assert compiler.current.versions["lexer"] == "3.0.0"
    assert compiler.compile("let x = 1;", "t.noodle", target_versions={"lexer": "1.0.0"}).success
    assert compiler.library.versions("lexer") == ("1.0.0", "1.1.0", "3.0.0")


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda text: text + "\nraise RuntimeError('no')\n", "cannot be imported: RuntimeError: no"),
        (lambda text: text.replace("def scan(", "def scam("), "noodle_lexer:scan is not there"),
        (lambda text: text.replace('"let def', '"def'), "finds errors in a program that has none"),
        (
            lambda text: text.replace("return _cut(text, 1, _Parts())", "return 3"),
            "gave what no later phase can read",
        ),
        (lambda text: text.replace('"3.0.0"', '"4.0.0"'), "its module says that it is 4.0.0"),
    ],
)
def test_a_version_that_is_no_good_is_refused_before_anything_uses_it(compiler, tmp_path, edit, told):
    own_version(tmp_path, "3.0.0", edit=edit)

    async def run():
        async with opened(tmp_path) as upgrader:
            try:
                return str((await upgraded(upgrader, request("3.0.0"))).error)
            except UpgradeError as error:
                return str(error)

    with Load(compiler) as load:
        assert told in asyncio.run(run())
    assert compiler.current.versions["lexer"] == "1.0.0"
    assert not load.failed


def test_a_version_that_fails_on_real_sources_is_taken_back_by_its_canary(compiler, tmp_path):
    failing = "    if 'print(f' in text:\n        raise KeyError('inside')\n    told = _beyond_limits(text)\n"
    own_version(tmp_path, "3.0.0", edit=lambda text: text.replace("    told = _beyond_limits(text)\n", failing, 1))

    async def run():
        async with opened(tmp_path) as upgrader:
            parameters = {"bake": 20, "percentage": 50, "judge.calls": 50}
            return await upgraded(upgrader, request("3.0.0", strategy="gradual", parameters=parameters))

    with Load(compiler):
        result = asyncio.run(run())
    assert not result.success
    assert compiler.serving.versions["lexer"] == "1.0.0"
    assert compiler.compile(SOURCE.format(number=1), "t.noodle").success


def test_what_is_active_runs_again_after_a_restart(compiler, tmp_path):
    async def run():
        async with opened(tmp_path) as upgrader:
            assert (await upgraded(upgrader, request())).success

    asyncio.run(run())
    fresh = Compiler()
    set_process_compiler(fresh)

    async def again():
        async with opened(tmp_path) as upgrader:
            assert fresh.current.versions["lexer"] == "1.1.0"
            return {one.name: one.version for one in await upgrader.components()}

    assert asyncio.run(again())["lexer"] == "1.1.0"


def test_files_stay_with_a_version_while_the_share_rises(compiler):
    new = compiler.current.having(compiler.library.get("lexer", "1.1.0"))
    names = [f"{n}.noodle" for n in range(2000)]
    before: set[str] = set()
    for share in (0.1, 0.3, 0.7, 1.0):
        compiler.route(new, share)
        there = {name for name in names if compiler._chosen(name)[0] is new}
        assert before <= there
        assert abs(len(there) / len(names) - share) < 0.05
        before = there


def test_a_pause_waits_for_compilations_and_holds_new_ones_back(compiler):
    inside, go_on, done = threading.Event(), threading.Event(), []
    lexer = compiler.current.lexer

    def slow(text):
        inside.set()
        go_on.wait(10)
        return lexer.call(text)

    compiler.current = compiler.current.having(evolve(lexer, call=slow))
    first = threading.Thread(target=lambda: done.append(compiler.compile("let x = 1;", "a.noodle").success))
    first.start()
    inside.wait(10)
    with pytest.raises(DrainTimeoutError, match="1 compilations have not ended"), compiler.paused(0.05):
        pass
    paused = threading.Event()

    def pause():
        with compiler.paused(10):
            paused.set()
            later.start()
            later.join(0.2)
            assert later.is_alive()

    later = threading.Thread(target=lambda: done.append(compiler.compile("let x = 2;", "b.noodle").success))
    holder = threading.Thread(target=pause)
    holder.start()
    assert not paused.wait(0.1)
    go_on.set()
    holder.join(10)
    later.join(10)
    first.join(10)
    assert done == [True, True]


def test_a_constraint_of_the_settings_stands_against_a_version(compiler, tmp_path):
    async def run():
        overrides = {"compiler.version_awareness.version_constraints": {"lexer": "<1.1"}}
        async with opened(tmp_path, **overrides) as upgrader:
            return await upgraded(upgrader, evolve(request(), validation_level="normal"))

    try:
        told = str(asyncio.run(run()).error)
    except UpgradeError as error:
        told = str(error)
    assert "stop the upgrade" in told
    assert "<1.1" in told


def test_no_index_is_asked_for_a_phase(compiler, tmp_path):
    async def run():
        async with opened(tmp_path) as upgrader:
            with pytest.raises(UpgradeError) as caught:
                await upgrader.plan(request("77.0.0"))
            return str(caught.value)

    told = asyncio.run(run())
    assert "wheel" not in told
    assert "phases: has 1.1.0, 1.0.0" in told


def test_a_version_that_fails_after_the_commit_is_taken_back_by_itself(compiler, tmp_path):
    failing = "    if 'poison' in text:\n        raise KeyError('inside')\n    told = _beyond_limits(text)\n"
    own_version(tmp_path, "3.0.0", edit=lambda text: text.replace("    told = _beyond_limits(text)\n", failing, 1))

    async def run():
        async with opened(tmp_path) as upgrader:
            assert (await upgraded(upgrader, request("3.0.0"))).success
            assert compiler.compile("let x = 1;", "t.noodle").success
            result = await asyncio.to_thread(compiler.compile, "let poison = 1;", "t.noodle")
            assert [error.phase for error in result.errors] == ["lexer"]
            for _ in range(200):
                if compiler.current.versions["lexer"] == "1.0.0":
                    break
                await asyncio.sleep(0.05)
            assert compiler.current.versions["lexer"] == "1.0.0"
            assert compiler.compile("let poison = 1;", "t.noodle").success

    asyncio.run(run())


def test_what_an_upgrade_affects_is_built_before_it_serves(compiler, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for n in range(20):
        body = f"match x {{ case 1, 2 {{ x = {n}; }} }}" if n == 7 else f"x = {n};"
        (tmp_path / f"f{n}.noodle").write_text(f"let x = {n}; {body}")

    async def run():
        async with opened(tmp_path) as upgrader:
            build([tmp_path], compiler.current, compiler.store)
            told = []
            upgrader.events.subscribe(lambda event: told.append((event.kind, dict(event.data))))
            result = await upgraded(upgrader, request("2.0.0", "bytecode_generator"))
            assert result.success, result.error
            assert ("compiler.recompiling", 1) in [(kind, data.get("all")) for kind, data in told]
            report = build([tmp_path], compiler.current, compiler.store)
            assert report.built == ()
            integration = CompilerRuntimeUpgradeIntegration(upgrader)
            again = await integration.trigger_recompilation_for_upgrade(
                result.upgrade_id, [str(tmp_path / "f7.noodle")]
            )
            assert again.affected == (str(tmp_path / "f7.noodle"),)

    asyncio.run(run())


def test_the_integration_compiles_and_upgrades_and_says_what_it_runs(compiler, tmp_path):
    async def run():
        async with opened(tmp_path) as upgrader, CompilerRuntimeUpgradeIntegration(upgrader) as integration:
            asked = await integration.compile_with_version_awareness("print(0xff);", "t.noodle", {"lexer": "1.1.0"})
            assert asked.success
            result = await integration.upgrade_compiler_component("optimizer", "2.0.0", "immediate", auto_approve=True)
            assert result.success, result.error
            status = integration.get_integration_status()
            assert status["component_versions"]["optimizer"] == "2.0.0"
            assert status["available_versions"]["parser"] == ["1.0.0", "2.0.0"]
            with pytest.raises(ComponentUnknownError, match="no phase"):
                await integration.upgrade_compiler_component("linker", "1.0.0")
            with pytest.raises(UpgradeError):
                await integration.trigger_recompilation_for_upgrade("no-such-upgrade")

    asyncio.run(run())


DOCUMENT = Path(__file__).parents[1] / "documents" / "compiler_upgrade_integration_config.json"


def test_the_document_of_the_compiler_is_accepted_as_it_is_and_does_what_it_says(compiler, tmp_path):
    async def run():
        async with Upgrader.open(load_settings(DOCUMENT), directory=tmp_path / "state") as upgrader:
            settings = upgrader.settings.section("compiler")
            assert settings.upgrade_integration.max_concurrent_upgrades == 2
            assert settings.version_awareness.cache_size == 100
            assert settings.components["parser"].features == (
                "error_recovery",
                "ast_optimization",
                "early_optimization",
            )
            assert compiler.pauses
            assert compiler.store is not None
            result = await upgraded(upgrader, request())
            assert result.success, result.error

    asyncio.run(run())
    assert compiler.current.versions["lexer"] == "1.1.0"


def test_a_version_may_say_what_it_is_in_json(compiler, tmp_path):
    folder = own_version(tmp_path, "3.0.0")
    told = tomllib.loads((folder / "component.toml").read_text())
    (folder / "component.json").write_text(json.dumps(told))
    (folder / "component.toml").unlink()

    go_to(tmp_path, "3.0.0")
    assert compiler.current.versions["lexer"] == "3.0.0"


def test_a_compilation_that_hangs_holds_others_up_for_a_moment_only(compiler):
    go_on, begun, waited = threading.Event(), threading.Event(), []
    lexer = compiler.current.lexer

    def slow(text):
        if "hang" in text:
            begun.set()
            go_on.wait(30)
        return lexer.call(text)

    compiler.current = compiler.current.having(evolve(lexer, call=slow))
    hanging = threading.Thread(target=compiler.compile, args=("# hang\n", "a.noodle"))
    hanging.start()
    begun.wait(10)

    def pause():
        with contextlib.suppress(DrainTimeoutError), compiler.paused(6):
            waited.append("paused")

    pausing = threading.Thread(target=pause)
    pausing.start()
    count = 0
    while pausing.is_alive():
        assert compiler.compile("let x = 1;", "b.noodle").success
        count += 1
    # Had they waited for it, there would have been one.
    assert count > 100
    assert waited == []
    go_on.set()
    hanging.join(10)
