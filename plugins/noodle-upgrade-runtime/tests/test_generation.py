import asyncio
import gc
import importlib
import sys
import threading

import pytest

from noodle_upgrade_core.errors import (
    DrainTimeoutError,
    MigrationError,
    RollbackUnavailableError,
    StageError,
    SwapRefusedError,
)
from noodle_upgrade_core.staged import COUNTS, WEIGHTS, StagedSwap
from noodle_upgrade_runtime.importlib_bootstrap import FINDER
from noodle_upgrade_runtime.swap import Quiet, RuntimeSwap

WHO = """
class Service:
    def who(self): return __version__
    def both(self): return self.who(), inner()
def inner(): return __version__
"""


def others_finders():
    """Return what is on `sys.meta_path` besides our own, which comes and goes with private versions."""
    return [one for one in sys.meta_path if one is not FINDER]


def private_names():
    gc.collect()  # what is left goes with its last module
    return [name for name in sys.modules if name.startswith("fable@")]


@pytest.fixture
def running(fable):
    fable.run("1.0")
    for version in ("1.0", "2.0", "3.0"):
        fable.write(version, WHO)
    return fable


# --- refused, and nothing changed ----------------------------------------------------------------------------------


def test_a_component_without_handles_is_refused_with_the_reason(running):
    verdict = running.engine.assess(running.change("1.0", "2.0"))
    assert not verdict.feasible
    assert verdict.blockers == ("nothing in this program calls fable through a handle",)
    with pytest.raises(SwapRefusedError, match="through a handle"):
        running.stage("1.0", "2.0")
    assert private_names() == []


def test_a_version_with_extension_modules_is_refused_when_it_is_assessed(running):
    _held = running.handle()
    (running.folder / "2.0" / "fable" / "fast.so").write_bytes(b"")
    verdict = running.engine.assess(running.change("1.0", "2.0"))
    assert not verdict.feasible
    assert "fable/fast.so" in verdict.blockers[0]


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("raise RuntimeError('broken')", "broken"),
        ("def broken(:", "SyntaxError"),
        ("", "Service"),
        ("class Service:\n    def __init__(self): raise OSError('no disk')", "no disk"),
    ],
)
def test_a_version_that_cannot_be_made_changes_nothing(running, source, says):
    service = running.handle()
    running.write("9.0", source)
    before, finders = dict(vars(service)), others_finders()
    with pytest.raises(StageError, match=says):
        running.stage("1.0", "9.0")
    assert vars(service) == before
    assert private_names() == []
    assert others_finders() == finders


# --- the flip ------------------------------------------------------------------------------------------------------


def test_staging_is_not_visible_and_the_commit_flips_all_handles_at_once(running):
    one, two = running.handle(), running.handle("fable:inner")
    swap = running.stage("1.0", "2.0")
    assert isinstance(swap, StagedSwap)
    assert (one.who(), two(), swap.running()) == ("1.0", "1.0", {"fable": "1.0"})
    swap.shift(1.0)
    assert (one.who(), two(), swap.running()) == ("2.0", "2.0", {"fable": "2.0"})
    swap.commit()
    assert (one.both(), two(), running.ledger) == (("2.0", "2.0"), "2.0", {"fable": "2.0"})
    assert importlib.import_module("fable").__version__ == "1.0"


def test_a_revert_restores_exactly_what_was_there_from_every_stage(running):
    service = running.handle()
    before = dict(vars(service))
    for steps in ([], [0.2], [0.2, 0.7], [1.0], [0.5, 1.0, "commit"], ["commit"], [0.3, 0.0]):
        swap = running.stage("1.0", "2.0")
        for step in steps:
            swap.commit() if step == "commit" else swap.shift(step)
        swap.revert()
        swap.revert()
        assert vars(service) == before
        assert all(a is b for a, b in zip(vars(service).values(), before.values(), strict=True))
        assert (service.who(), swap.running(), running.ledger) == ("1.0", {"fable": "1.0"}, {})
        swap.release()
    assert private_names() == []


def test_traffic_moves_by_shares_and_both_versions_are_counted(running):
    service = running.handle()
    swap = running.stage("1.0", "2.0")
    assert swap.capabilities == {WEIGHTS, COUNTS}
    assert swap.measure() is None
    for weight in (0.25, 0.5, 1.0):
        swap.shift(weight)
        seen = [service.who() for _ in range(400)]
        assert abs(seen.count("2.0") - 400 * weight) <= 4
    measured = swap.measure()
    assert (measured.old.version, measured.new.version) == ("1.0", "2.0")
    assert measured.old.calls + measured.new.calls == 1200
    assert swap.running() == {"fable": "2.0"}


def test_nothing_is_counted_and_methods_are_plain_when_no_deployment_runs(running):
    service = running.handle()
    assert service.who.__func__.__qualname__ == "Service.who"
    swap = running.stage("1.0", "2.0")
    swap.shift(0.5)
    assert service.who.__qualname__ != "Service.who"
    swap.shift(1.0)
    swap.commit()
    assert service.who.__func__.__qualname__ == "Service.who"
    calls = swap.measure().new.calls
    service.who()
    assert swap.measure().new.calls == calls


def test_a_call_that_is_under_way_ends_in_the_version_that_it_entered(fable):
    fable.run("1.0")
    for version in ("1.0", "2.0"):
        fable.write(
            version,
            """
            class Service:
                def slow(self, inside, leave):
                    first = inner()
                    inside.set()
                    leave.wait()
                    import fable.late
                    return first, inner(), fable.late.__version__
                async def slow_async(self, inside, leave):
                    first = inner()
                    inside.set()
                    await leave.wait()
                    return first, inner()
                def stream(self):
                    for _ in range(3): yield inner()
            def inner(): return __version__
            """,
            late="",
        )
    service = fable.handle()
    inside, leave, answers = threading.Event(), threading.Event(), []
    thread = threading.Thread(target=lambda: answers.append(service.slow(inside, leave)))
    thread.start()
    inside.wait()
    stream = service.stream()
    next(stream)

    async def main():
        begun, go_on = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(service.slow_async(begun, go_on))
        await begun.wait()
        swap = fable.stage("1.0", "2.0")
        swap.shift(1.0)
        swap.commit()
        go_on.set()
        assert await task == ("1.0", "1.0")

    asyncio.run(main())
    leave.set()
    thread.join()
    assert answers == [("1.0", "1.0", "1.0")]
    assert list(stream) == ["1.0", "1.0"]
    assert list(service.stream()) == ["2.0"] * 3


def test_no_call_fails_or_sees_two_versions_while_versions_flip_under_threads(running):
    service = running.handle()
    swap = running.stage("1.0", "2.0")
    stop, wrong, calls = threading.Event(), [], [0] * 4

    def work(n):
        while not stop.is_set():
            try:
                one, other = service.both()
            except Exception as error:
                wrong.append(error)
                raise
            calls[n] += 1
            if one != other:
                wrong.append((one, other))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(200):
            for weight in (0.5, 1.0, 0.3):
                swap.shift(weight)
            swap.revert()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert min(calls) > 0


def test_after_a_second_upgrade_the_first_version_is_let_go_and_cannot_be_gone_back_to(running):
    service = running.handle()
    first = running.stage("1.0", "2.0")
    first.shift(1.0)
    first.commit()
    second = running.stage("2.0", "3.0")
    second.shift(1.0)
    second.commit()
    first.release()
    with pytest.raises(RollbackUnavailableError):
        first.revert()
    assert service.who() == "3.0"
    second.revert()
    assert service.who() == "2.0"


def test_a_hundred_upgrades_leave_one_version_in_the_process(running):
    service = running.handle()
    warm = None
    for number in range(100):
        old, new = ("1.0", "2.0") if number % 2 == 0 else ("2.0", "1.0")
        swap = running.stage(old, new)
        swap.shift(1.0)
        swap.commit()
        if warm is not None:
            warm.release()
        warm = swap
    assert service.who() == "1.0"
    assert len(private_names()) <= 2
    assert len(type(service).__dict__) < 20


def test_who_uses_the_component_past_its_handles_is_named(running, monkeypatch):
    _held = running.handle()
    user = type(sys)("some_user_of_fable")
    user.inner = importlib.import_module("fable").inner
    monkeypatch.setitem(sys.modules, "some_user_of_fable", user)
    verdict = running.engine.assess(running.change("1.0", "2.0"))
    assert verdict.warnings == ("some_user_of_fable imported fable directly and stay on 1.0",)


# --- state ---------------------------------------------------------------------------------------------------------

COUNTER = """
class Service:
    def __init__(self): self.total = 0
    def add(self): self.total += 1; return self.total
    def export_state(self): return {{"total": self.total}}
    def import_state(self, state): self.total = {take}
{more}
"""


def counters(fable, *, take="state['total']", more="", one_more=""):
    fable.run("1.0")
    fable.write("1.0", COUNTER.format(take="state['total']", more=one_more))
    fable.write("2.0", COUNTER.format(take=take, more=more))
    return fable.handle()


def test_state_moves_there_and_back_again(fable):
    service = counters(fable)
    service.add()
    swap = fable.stage("1.0", "2.0")
    service.add()
    assert WEIGHTS not in swap.capabilities
    swap.shift(1.0)
    assert service.add() == 3
    swap.commit()
    assert service.add() == 4
    swap.revert()
    assert service.add() == 5


def test_a_share_of_a_component_with_state_is_everything(fable):
    service = counters(fable)
    swap = fable.stage("1.0", "2.0")
    swap.shift(0.1)
    assert swap.running() == {"fable": "2.0"}
    swap.revert()
    assert service.add() == 1


def test_a_version_that_cannot_take_the_state_is_refused_while_it_is_staged(fable):
    service = counters(fable, take="1 / 0")
    service.add()
    with pytest.raises(MigrationError, match=r"import_state of 2\.0 raised ZeroDivisionError"):
        fable.stage("1.0", "2.0")
    assert service.add() == 2
    assert private_names() == []


def test_a_version_without_import_state_is_refused(fable):
    service = counters(fable)
    fable.write("3.0", "class Service: pass\n")
    with pytest.raises(MigrationError, match="has no import_state"):
        fable.stage("1.0", "3.0")
    assert service.add() == 1


def test_a_state_that_turns_bad_after_staging_stops_the_flip_and_nothing_changed(fable):
    service = counters(fable, take="10 // (3 - state['total'])")
    swap = fable.stage("1.0", "2.0")
    for _ in range(3):
        service.add()
    with pytest.raises(MigrationError, match="ZeroDivisionError"):
        swap.shift(1.0)
    assert service.add() == 4
    assert swap.running() == {"fable": "1.0"}


def test_migrations_are_chained_through_the_versions_between_in_both_directions(fable):
    service = counters(fable)
    fable.write(
        "1.5",
        """
        class Service: pass
        MIGRATIONS = {("1.0", "1.5"): lambda s: {"total": s["total"] * 10},
                      ("1.5", "1.0"): lambda s: {"total": s["total"] // 10}}
        """,
    )
    fable.write(
        "3.0",
        COUNTER.format(take="state['sum']", more="").replace('{"total": self.total}', '{"sum": self.total}')
        + """
def migrate_state(state, from_version, to_version):
    return {"sum": state["total"] + 5} if to_version == "3.0" else {"total": state["sum"] - 5}
""",
    )
    service.add()
    swap = fable.stage("1.0", "3.0", "1.5")
    swap.shift(1.0)
    assert service.total == 15
    service.total = 25
    swap.revert()
    assert service.total == 2


def test_a_direct_migration_wins_over_the_chain(fable):
    service = counters(fable, more="MIGRATIONS = {('1.0', '2.0'): lambda s: {'total': 77}}")
    fable.write("1.5", "MIGRATIONS = {('1.0', '1.5'): lambda s: 1 / 0}\n")
    fable.stage("1.0", "2.0", "1.5").shift(1.0)
    assert service.total == 77


def test_an_async_export_is_refused(fable):
    fable.run("1.0")
    fable.write(
        "1.0", "class Service:\n    async def export_state(self): return 1\n    def import_state(self, s): pass\n"
    )
    fable.write("2.0", "class Service:\n    def import_state(self, s): pass\n")
    _held = fable.handle()
    with pytest.raises(MigrationError, match="async"):
        fable.stage("1.0", "2.0")


def test_state_moves_only_when_no_thread_is_inside_and_the_one_inside_is_named(fable):
    service = counters(
        fable, one_more="    def stay(self, inside, leave): inside.set(); leave.wait(); self.total += 100\n"
    )
    swap = fable.stage("1.0", "2.0", within=0.05)
    inside, leave = threading.Event(), threading.Event()
    thread = threading.Thread(target=service.stay, args=(inside, leave), name="stayer")
    thread.start()
    inside.wait()
    try:
        with pytest.raises(DrainTimeoutError, match="stayer"):
            swap.shift(1.0)
        assert swap.running() == {"fable": "1.0"}
    finally:
        leave.set()
        thread.join()
    swap.shift(1.0)
    assert service.total == 100


@pytest.mark.parametrize("kind", ["coroutine", "generator"])
def test_state_moves_only_when_no_call_is_suspended_and_what_it_does_is_never_lost(fable, kind):
    waits = {
        "coroutine": "    async def stay(self): await self.leave; self.total += 100\n    @property\n"
        "    def leave(self):\n        import asyncio; return asyncio.sleep(0)\n",
        "generator": "    def stay(self): yield; self.total += 100\n",
    }[kind]
    service = counters(fable, one_more=waits)
    swap = fable.stage("1.0", "2.0", within=0.05)
    call = service.stay()
    step = call.send if kind == "coroutine" else call.__next__
    step(*[None] * (kind == "coroutine"))
    with pytest.raises(DrainTimeoutError, match=r"suspended call in .*stay"):
        swap.shift(1.0)
    assert swap.running() == {"fable": "1.0"}
    with pytest.raises(StopIteration):
        step(*[None] * (kind == "coroutine"))
    swap.shift(1.0)
    assert service.total == 100


# --- sets ----------------------------------------------------------------------------------------------------------


def test_components_of_a_set_flip_together_and_later_one_by_one(fable, tmp_path):
    other = type(fable)(tmp_path / "other")
    other.name, other.handles, other.engine = "fable_friend", fable.handles, fable.engine
    for one in (fable, other):
        one.run("1.0")
    for version in ("1.0", "2.0", "3.0"):
        fable.write(version, WHO)
        other.write(version, "import fable\nclass Service:\n    def who(self): return __version__, fable.inner()\n")
    first, second = fable.handle(), other.handle("fable_friend:Service")
    try:
        changes = (fable.change("1.0", "2.0"), other.change("1.0", "2.0"))
        _more, _shadowed = fable.handle(), fable.handle(shadow=True)
        both = swap_of(fable.engine.stage(changes, cancelled=lambda: False), "fable", "fable_friend")
        assert both.capabilities == {COUNTS, WEIGHTS}  # whose members, and whose calls, nobody could say
        both.shift(1.0)
        both.commit()
        assert (first.who(), second.who()) == ("2.0", ("2.0", "2.0"))
        alone = fable.stage("2.0", "3.0")
        alone.commit()
        both.release()
        alone.release()
        # The friend still runs in the space that the set was loaded into: it was not let go of.
        assert (first.who(), second.who()) == ("3.0", ("2.0", "2.0"))
        assert any(name.startswith("fable_friend@2_0") for name in sys.modules)
    finally:
        del second
        for name in [name for name in sys.modules if name.startswith("fable_friend")]:
            del sys.modules[name]


def swap_of(part, *names):
    versions = dict.fromkeys(names, ("1.0", "2.0"))
    return RuntimeSwap([part], versions=versions, quiet=Quiet(), ledger={})
