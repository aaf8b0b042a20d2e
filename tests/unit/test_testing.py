import asyncio
import contextlib
import gc
import importlib
import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

import pytest
from attrs import evolve, field, frozen

from noodle_upgrade_core import (
    ComponentDescriptor,
    Finding,
    Receipt,
    Severity,
    UpgradeRequest,
    Verdict,
    Vote,
    hookimpl,
    setting,
)
from noodle_upgrade_core.clocks import VirtualClock
from noodle_upgrade_core.errors import InvalidRequestError, RollbackUnavailableError, SwapRefusedError
from noodle_upgrade_core.judges import KillSwitch
from noodle_upgrade_core.rollout import Conductor
from noodle_upgrade_core.staged import StagedSwap
from noodle_upgrade_core.steps import Gate, Judge, Probe, Revert, Shift, Wait
from noodle_upgrade_core.strategies import Gradual, Immediate
from noodle_upgrade_core.testing import (
    ConformanceError,
    FakeStaged,
    check_strategy,
    conformance_checks,
    conformance_checks_of_strategy,
    parametrize_with_checks,
    sample_active_version,
    sample_artifact,
    sample_context,
    sample_descriptor,
    sample_event,
    sample_host,
    sample_plan,
    sample_request,
    sample_step,
    sample_verdict,
)
from noodle_upgrade_core.testing.imports import probe
from noodle_upgrade_core.testing.pytest_plugin import (  # noqa: F401 - the fixtures, also where none is installed
    noodle_context,
    noodle_host,
    noodle_upgrader,
)
from noodle_upgrade_core.wire import from_wire, to_wire
from tests.unit.environments import Environment


def verdicts(checks):
    """Call every check; returns what failed, by name."""
    failed = {}
    for check in checks:
        try:
            check()
        except ConformanceError as error:
            failed[check.name] = str(error)
    return failed


@frozen(kw_only=True)
class FridaySettings:
    day: int = setting(4, ge=0, le=6)
    names: tuple[str, ...] = setting(("a",))


class NoFridays:
    """A plugin as an author would write it."""

    settings = FridaySettings
    section = "fridays"

    def __init__(self, host):
        self.day = host.settings.day
        self.undone = set()

    @hookimpl
    def validate(self, plan, stage):
        if stage == "before" and plan.created_at.weekday() == self.day:
            yield Finding(severity=Severity.ERROR, code="acme.friday", message="No upgrades on Fridays.")

    @hookimpl
    async def decide(self, plan):
        await asyncio.sleep(0)
        return Vote(ballot="approve") if plan.request.priority > 8 else None

    @hookimpl
    def rollback(self, plan):
        if plan.plan_id in self.undone:
            return None
        self.undone.add(plan.plan_id)
        return Receipt(undone=("the mark",))

    @hookimpl
    def observe(self, event):
        self.last = event.kind


# --- plugins that keep every rule --------------------------------------------------------------------------------

OWN_MODULE = {"import_is_cheap", "import_has_no_effects"}  # the module of these tests is no plugin's module


def test_a_plugin_that_keeps_the_rules_passes_every_check():
    checks = conformance_checks(NoFridays)
    assert [check.name for check in checks] == [
        "import_is_cheap",
        "import_has_no_effects",
        "hooks_fit",
        "answers_observe",
        "answers_validate",
        "answers_decide",
        "answers_rollback",
        "rollback_is_idempotent",
        "ends_when_cancelled",
        "async_hooks_can_be_cancelled",
        "closes_cleanly",
        "settings_round_trip",
    ]
    assert all(check.description for check in checks)
    assert verdicts(check for check in checks if check.name not in OWN_MODULE) == {}


@parametrize_with_checks(Immediate)
def test_the_cores_immediate_keeps_the_rules_of_a_strategy(check):
    check()


@pytest.mark.parametrize("parameters", [{}, {"percentage": 33.0, "bake": 0.0}, {"require_evidence": True, "bake": 0.0}])
def test_the_cores_gradual_keeps_the_rules_of_a_strategy(parameters):
    check_strategy(Gradual, parameters)


def test_a_module_and_an_instance_can_be_checked_too(tmp_path):
    env = Environment(tmp_path / "site")
    name = env.module(
        "conforming_module",
        "from noodle_upgrade_core.hookspecs import hookimpl\n@hookimpl\ndef discover():\n    return []\n",
    )
    try:
        assert verdicts(conformance_checks(importlib.import_module(name))) == {}
    finally:
        env.close()
    instance = NoFridays(sample_host(tmp_path, settings=FridaySettings()))
    assert verdicts(check for check in conformance_checks(instance) if check.name not in OWN_MODULE) == {}


# --- plugins that break one --------------------------------------------------------------------------------------


def plugin(**hooks):
    """A plugin class from functions by hook; each takes self and the arguments that it names."""
    return type("Planted", (), {name: hookimpl(function) for name, function in hooks.items()})


def broken(made, name, **options):
    """Return what the check says of a plugin, or None when it passes."""
    (check,) = [check for check in conformance_checks(made, **options) if check.name == name]
    return verdicts([check]).get(name)


def hang(self):
    threading.Event().wait(3)


async def ignore_cancellation(self, plan):
    until = time.monotonic() + 0.8
    while time.monotonic() < until:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.1)


def goes_on_when_cancelled(self, context):
    while context.remaining() <= 0:
        time.sleep(0.05)


def twice(self, plan):
    self.marks = getattr(self, "marks", [1])
    self.marks.pop()


def strict_observe(self, event):
    if event.kind != "upgrade.phase":
        raise ValueError(event.kind)


def feasible(self, step):
    return Verdict(feasible=True, mechanism="anything")


BROKEN = [
    ("hooks_fit", {"validate": lambda self, plna: []}, "'plna'"),
    ("answers_validate", {"validate": lambda self: [1]}, "an iterable of Finding"),
    ("answers_validate", {"validate": lambda self, plan: plan.steps[3]}, "IndexError"),
    ("answers_discover", {"discover": lambda self: [sample_request()]}, "an iterable of ComponentDescriptor"),
    ("answers_decide", {"decide": lambda self: True}, "Vote or None"),
    ("answers_assess", {"assess": feasible}, "unknown component feasible"),
    ("answers_assess", {"assess": lambda self, step: {}[step.name]}, "KeyError"),
    ("answers_restore", {"restore": lambda self, active: [a.artifact.digest for a in active]}, "failed in restore"),
    ("answers_swap", {"swap": lambda self: object()}, "StagedSwap"),
    ("answers_swap", {"swap": lambda self, steps: steps[1]}, "IndexError"),
    ("answers_observe", {"observe": strict_observe}, "ValueError: noodle.sample"),
    ("rollback_is_idempotent", {"rollback": twice}, "IndexError"),
]


@pytest.mark.parametrize(("check", "hooks", "said"), BROKEN, ids=[f"{check}-{said}" for check, _, said in BROKEN])
def test_a_broken_rule_is_found_and_named(check, hooks, said):
    assert said in broken(plugin(**hooks), check)


def test_a_hook_that_hangs_is_found_within_the_time_limit():
    assert "still busy in discover after 0.1 s" in broken(plugin(discover=hang), "answers_discover", time_limit=0.1)


def test_a_hook_that_does_not_ask_whether_it_is_cancelled_is_found():
    assert "went on after the upgrade was cancelled" in broken(
        plugin(validate=goes_on_when_cancelled), "ends_when_cancelled", time_limit=0.1
    )


def test_an_async_hook_that_swallows_its_cancellation_is_found(monkeypatch):
    monkeypatch.setattr("noodle_upgrade_core.testing.hooks._CANCEL_SECONDS", 0.2)
    assert "did not end within 0.2 s of its cancellation" in broken(
        plugin(decide=ignore_cancellation), "async_hooks_can_be_cancelled"
    )


def test_a_typed_refusal_is_an_answer_where_one_may_refuse():
    def refuse(self):
        raise SwapRefusedError("not mine")

    assert broken(plugin(swap=refuse), "answers_swap") is None
    assert "not mine" in broken(plugin(validate=refuse), "answers_validate")


def test_threads_that_outlive_close_are_found(monkeypatch):
    monkeypatch.setattr("noodle_upgrade_core.testing.lifecycles._END_SECONDS", 0.2)
    release = threading.Event()

    class Leaks(plugin(discover=lambda self: [])):
        def __init__(self):
            threading.Thread(target=release.wait, name="acme-worker", daemon=True).start()

    class Joins(plugin(discover=lambda self: [])):
        def __init__(self):
            self.ending = threading.Event()
            self.thread = threading.Thread(target=self.ending.wait)
            self.thread.start()

        def close(self):
            self.ending.set()
            self.thread.join()

    assert "acme-worker" in broken(Leaks, "closes_cleanly")
    release.set()
    assert broken(Joins, "closes_cleanly") is None


def test_a_close_that_fails_is_found():
    class Fails(plugin(discover=lambda self: [])):
        def close(self):
            raise ValueError("stuck")

    assert "stuck" in broken(Fails, "closes_cleanly")


def test_settings_that_do_not_survive_writing_down_are_found():
    @frozen(kw_only=True)
    class Forgets:
        day: int = setting(4)
        made_at: str = field(init=False, factory=lambda: os.urandom(4).hex())

    @frozen(kw_only=True)
    class Required:
        day: int = setting()

    base = plugin(discover=lambda self: [])
    assert "differ" in broken(type("P", (base,), {"settings": Forgets}), "settings_round_trip")
    needs = type("P", (base,), {"settings": Required})
    assert broken(needs, "settings_round_trip", settings=Required(day=3)) is None


# --- what an import does -----------------------------------------------------------------------------------------

GOOD = """
from noodle_upgrade_core.hookspecs import hookimpl
class Plugin:
    @hookimpl
    def discover(self):
        return []
"""


@pytest.fixture
def env(tmp_path):
    environment = Environment(tmp_path / "site")
    yield environment
    environment.close()


EFFECTS = {
    "import os, sys; open({file!r}, 'w').close()": "writes the file {file}",
    "os.mkdir({file!r} + '-folder')": "changes a folder (os.mkdir '{file}-folder')",
    "import socket; socket.socket().close()": "opens a socket (socket.__new__)",
    "import subprocess; subprocess.run(['true'])": "starts a process (subprocess.Popen 'true')",
    "os.environ['ACME'] = '1'": "changes the environment",
    "sys.path.append('/nowhere')": "changes sys.path",
    "import builtins; builtins.acme = print": "changes builtins",
    "import logging; logging.basicConfig()": "changes the logging",
    "import signal; signal.signal(signal.SIGTERM, print)": "changes signal handlers",
    "import warnings; warnings.simplefilter('ignore')": "changes the filters of warnings",
    "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()": "starts threads",
    "sys.excepthook = print": "changes the hooks of sys",
    "os.chdir('/')": "changes the working directory",
}


def test_everything_that_an_import_does_to_the_world_is_found(env, tmp_path):
    file = str(tmp_path / "made")
    name = env.module("effects_zoo", "\n".join(EFFECTS).format(file=file))
    effects = probe(name).effects
    assert [said.format(file=file) for said in EFFECTS.values() if said.format(file=file) not in effects] == []


@pytest.mark.parametrize(
    ("check", "line", "said"),
    [
        ("import_has_no_effects", "import socket; socket.socket()", "import_zoo opens a socket"),
        ("import_has_no_effects", "print('hello from acme')", "prints 'hello from acme'"),
        ("import_has_no_effects", "import os; os._exit(7)", "ended the interpreter with 7"),
        ("import_has_no_effects", "raise SystemExit(3)", "cannot be imported in a fresh interpreter: SystemExit: 3"),
    ],
)
def test_an_import_with_effects_does_not_conform(env, check, line, said):
    # The module is as it is only in the fresh interpreter: here the class is made without the line.
    name = env.module("import_zoo", GOOD)
    made = importlib.import_module(name).Plugin
    (env.folder / "import_zoo.py").write_text(f"{line}\n{GOOD}")
    assert said in broken(made, check)


def test_a_heavy_import_is_found_unless_it_is_allowed_and_reading_is_no_effect(env):
    name = env.module("import_fine", f"import pytest\nwith open(__file__) as file:\n    file.read()\n{GOOD}")
    made = importlib.import_module(name).Plugin
    few, no_effects = conformance_checks(made)[:2]
    assert "import_fine imports pytest" in verdicts([few])["import_is_cheap"]
    assert verdicts([no_effects]) == {}
    assert verdicts(conformance_checks(made, allowed_imports=("pytest",), most_modules=1000)[:1]) == {}
    too_many = verdicts(conformance_checks(made, allowed_imports=("pytest",), most_modules=10)[:1])
    assert "modules that the core does not" in too_many["import_is_cheap"]


# --- strategies that break a rule --------------------------------------------------------------------------------


def rollouts(function):
    return type("Planted", (), {"rollout": lambda self, plan: function(plan)})


def broken_rules(function):
    return verdicts(conformance_checks_of_strategy(rollouts(function)))


def returns_a_list(plan):
    return [Shift(1.0)]


async def is_async(plan):
    yield Shift(1.0)


def yields_a_number(plan):
    yield Shift(1.0)
    yield 0.5


def never_ends(plan):
    yield Shift(1.0)
    while True:
        seen = yield Probe()
        if seen.harm:
            yield Revert()
            return


def spins_without_time(plan):
    seen = yield Judge(budget=0)
    while not seen.safe and not seen.harm:
        seen = yield Judge(budget=0)
    if not seen.harm:
        yield Shift(1.0)


def stops_half_way(plan):
    yield Shift(0.5)


def ignores_harm(plan):
    for weight in (0.5, 1.0):
        yield Shift(weight)
        yield Judge()


def stays_on_harm(plan):
    yield Shift(1.0)
    seen = yield Judge()
    if seen.harm:
        return


def passes_a_closed_gate(plan):
    yield Gate("ready")
    yield Shift(1.0)


def throws_dice(plan):
    yield Wait(int.from_bytes(os.urandom(6), "big") / 2**40)
    yield Shift(1.0)


def reads_a_clock(plan):
    yield Wait(max(0.0, time.time() * 0))
    yield Shift(1.0)


def asks_the_date(plan):
    if datetime.now(UTC).year:
        yield Shift(1.0)


def sleeps(plan):
    time.sleep(0)
    yield Shift(1.0)


def reads_a_file(plan):
    with open(__file__):  # noqa: PTH123 - as a plugin might
        yield Shift(1.0)


def starts_a_process(plan):
    subprocess.run(["true"], check=True)
    yield Shift(1.0)


def clings_on(plan):
    try:
        yield Shift(1.0)
    finally:
        yield Revert()


def raises(plan):
    yield Shift(1.0)
    raise KeyError("lost")


def asks_too_much(plan):
    yield Shift(1.5)


STRATEGIES = [
    (returns_a_list, "rollout_is_a_generator", "gave list"),
    (is_async, "rollout_is_a_generator", "gave async_generator"),
    (yields_a_number, "yields_only_known_steps", "yielded 0.5"),
    (never_ends, "comes_to_an_end", "did not end"),
    (spins_without_time, "comes_to_an_end", "'no traffic' it did not end"),
    (stops_half_way, "promotes_what_is_safe", "weight of 0.5 after shift to 50%"),
    (ignores_harm, "gives_up_on_harm", "went on to shift to 100% after harm"),
    (stays_on_harm, "gives_up_on_harm", "all traffic on a version that did harm"),
    (passes_a_closed_gate, "heeds_a_closed_gate", "past a gate that nobody opened"),
    (throws_dice, "is_deterministic", "it went two ways"),
    (reads_a_clock, "does_no_io_and_reads_no_clock", "reads a clock (time.time)"),
    (asks_the_date, "does_no_io_and_reads_no_clock", "reads a clock (datetime.now)"),
    (sleeps, "does_no_io_and_reads_no_clock", "sleeps by itself"),
    (reads_a_file, "does_no_io_and_reads_no_clock", "reads the file"),
    (starts_a_process, "does_no_io_and_reads_no_clock", "subprocess.Popen"),
    (clings_on, "can_be_stopped_anywhere", "closing it after 1 step(s) raised RuntimeError"),
    (raises, "comes_to_an_end", "it raised KeyError: 'lost'"),
    (asks_too_much, "yields_only_known_steps", "weight must be at least 0 and at most 1"),
]


@pytest.mark.parametrize(("strategy", "rule", "said"), STRATEGIES, ids=[s.__name__ for s, _, _ in STRATEGIES])
def test_a_strategy_that_breaks_a_rule_is_found_and_the_rule_is_named(strategy, rule, said):
    found = broken_rules(strategy)
    assert said in found[rule]
    with pytest.raises(ConformanceError):
        check_strategy(rollouts(strategy))


def test_a_rule_is_not_blamed_for_another():
    assert set(broken_rules(stops_half_way)) == {"promotes_what_is_safe"}
    assert set(broken_rules(reads_a_clock)) == {"does_no_io_and_reads_no_clock"}
    assert set(broken_rules(stays_on_harm)) == {"gives_up_on_harm"}


def test_watching_a_strategy_leaves_the_threads_profiler_as_it_was():
    calls = []

    def mine(_frame, _event, _arg):
        calls.append(1)

    sys.setprofile(mine)
    try:
        check_strategy(Immediate)
        assert sys.getprofile() is mine
    finally:
        sys.setprofile(None)


def test_what_the_collector_does_meanwhile_is_not_the_strategys_doing():
    def look_at_the_clock(_phase, _info):
        time.perf_counter()

    thresholds = gc.get_threshold()
    gc.callbacks.append(look_at_the_clock)
    gc.set_threshold(1)
    try:
        check_strategy(Gradual, {"bake": 0.0})
    finally:
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(look_at_the_clock)
    assert gc.isenabled()


def test_a_strategy_may_wait_for_evidence_as_long_as_it_lets_time_pass():
    def patient(plan):
        yield Shift(1.0)
        seen = yield Judge(budget=60)
        while not seen.safe and not seen.harm:
            seen = yield Wait(60)
            seen = yield Judge(budget=60)
        if seen.harm:
            yield Revert(seen.reasons)

    check_strategy(rollouts(patient))


# --- how authors use it ------------------------------------------------------------------------------------------


def test_an_expected_failure_that_names_no_check_is_refused_with_a_suggestion():
    with pytest.raises(ValueError, match="did you mean 'import_is_cheap'"):
        conformance_checks(NoFridays, expected_failures={"import_is_cheep": "slow"})


def test_expected_failures_are_reported_and_must_go_on_failing(tmp_path):
    (tmp_path / "acme_kit.py").write_text(
        "import os, pytest\nfrom noodle_upgrade_core.hookspecs import hookimpl\n"
        "class Plugin:\n    @hookimpl\n    def discover(self): return []\n"
    )
    (tmp_path / "test_acme.py").write_text(
        "import sys; sys.path.insert(0, '.')\n"
        "from acme_kit import Plugin\nfrom noodle_upgrade_core.testing import parametrize_with_checks\n"
        "@parametrize_with_checks(Plugin, "
        "expected_failures={'import_is_cheap': 'it needs pytest', 'hooks_fit': 'no'})\n"
        "def test_conformance(check): check()\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rxf", "test_acme.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "XFAIL test_acme.py::test_conformance[import_is_cheap] - it needs pytest" in done.stdout
    assert "FAILED test_acme.py::test_conformance[hooks_fit] - [XPASS(strict)] no" in done.stdout
    assert "1 failed" in done.stdout
    assert "1 xfailed" in done.stdout


def test_the_pytest_plugin_costs_pytest_nothing():
    code = (
        "import sys, pytest; before = set(sys.modules); import noodle_upgrade_core.testing.pytest_plugin;"
        "print(sorted(m for m in set(sys.modules) - before if not m.startswith('noodle_upgrade_core')))"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_fixtures_give_a_host_a_context_and_a_real_upgrader(noodle_host, noodle_context, noodle_upgrader):  # noqa: F811 - fixtures
    assert noodle_host(settings=3).settings == 3
    assert noodle_host().directory.is_dir()
    assert noodle_context(cancelled=True).cancelled()
    overrides = {"runtime_upgrade.soak.seconds": 1.0, "runtime_upgrade.plugins.enabled": ["desk"]}
    upgrader = noodle_upgrader(plugins={"desk": Desk}, **overrides)
    assert [component.name for component in upgrader.components()] == ["desk"]
    assert upgrader.settings.runtime_upgrade.approval.automatic
    assert upgrader.settings.runtime_upgrade.soak.seconds == 1.0


# --- samples and the staged swap ---------------------------------------------------------------------------------


def test_samples_are_well_formed_and_cross_the_wire(tmp_path):
    plan = sample_plan()
    assert plan.feasible
    assert from_wire(type(plan), to_wire(plan)) == plan
    for made in (sample_descriptor(), sample_artifact(), sample_verdict(), sample_step(), sample_event()):
        assert from_wire(type(made), to_wire(made)) == made
    assert sample_active_version().artifact == sample_artifact()
    assert sample_descriptor(name="other").name == "other"
    assert sample_context(tmp_path, cancelled=True).cancelled()
    assert sample_context(tmp_path).remaining() == 60.0
    assert sample_context(tmp_path).store.is_dir()
    assert sample_host(tmp_path, settings=3).settings == 3


def test_the_fake_swap_is_a_staged_swap_with_every_promise():
    swap = FakeStaged({"a": ("1", "2"), "b": ("3", "4")}, harm=0.5)
    assert isinstance(swap, StagedSwap)
    assert swap.running() == {"a": "1", "b": "3"}
    swap.shift(0.25)
    measured = swap.measure()
    assert (measured.old.version, measured.old.calls, measured.old.errors) == ("1", 750, 0)
    assert (measured.new.version, measured.new.calls, measured.new.errors) == ("2", 250, 125)
    assert swap.running() == {"a": "2", "b": "4"}
    swap.commit()
    swap.revert()
    swap.revert()
    assert swap.running() == {"a": "1", "b": "3"}
    swap.release()
    with pytest.raises(RollbackUnavailableError):
        swap.revert()


def test_the_fake_swap_refuses_shares_that_it_cannot_take():
    whole = FakeStaged(capabilities=())
    for weight in (0.5, -1.0, 2.0):
        with pytest.raises(InvalidRequestError):
            whole.shift(weight)
    assert whole.running() == {"noodle-sample-component": "1.0.0"}
    assert whole.measure() is None


def test_a_failure_is_injected_at_the_call_that_was_named_and_changes_nothing():
    swap = FakeStaged().fail("shift", OSError("disk"), call=2)
    swap.shift(0.1)
    with pytest.raises(OSError, match="disk"):
        swap.shift(0.9)
    assert swap.weight == 0.1
    swap.shift(0.9)
    assert [entry for entry in swap.log if entry[0] == "shift"] == [("shift", 0.1), ("shift", 0.9), ("shift", 0.9)]


def test_the_core_conducts_a_strategy_over_the_fake_swap():
    async def carry_out(harm):
        staged = FakeStaged(harm=harm)
        conductor = Conductor(staged=staged, judge=KillSwitch(), clock=VirtualClock())
        return staged, await conductor.carry_out(Gradual(percentage=25).rollout(sample_plan()))

    staged, outcome = asyncio.run(carry_out(0.0))
    assert outcome.promoted
    assert [entry[1] for entry in staged.log if entry[0] == "shift"] == [0.25, 0.5, 0.75, 1.0]
    staged, outcome = asyncio.run(carry_out(0.5))
    assert not outcome.promoted
    assert staged.weight == 0.25


# --- scenarios ---------------------------------------------------------------------------------------------------


class Desk:
    """A plugin with one component, whose version is a number in memory; `flaw` breaks one promise of its swap."""

    def __init__(self, flaw=""):
        self.version = "1.0.0"
        self.flaw = flaw

    @hookimpl
    def discover(self):
        yield ComponentDescriptor(name="desk", version=self.version)

    @hookimpl
    def assess(self, step):
        return sample_verdict(capabilities=frozenset()) if step.name == "desk" else None

    @hookimpl
    def swap(self, steps):
        if self.flaw == "stages nothing":
            return None
        if self.flaw == "visible when staged":
            self.version = "2.0.0"
        return DeskSwap(self)


class DeskSwap(FakeStaged):
    def __init__(self, desk):
        super().__init__({"desk": ("1.0.0", "2.0.0")}, capabilities=())
        self.desk = desk
        if desk.flaw == "claims too much":
            self.capabilities = frozenset({"weights", "counts", "magic"})
        if desk.flaw == "cannot take shares":
            self.capabilities = frozenset({"weights"})

    def shift(self, weight):
        if self.desk.flaw == "cannot take shares" and 0 < weight < 1:
            raise InvalidRequestError("no shares after all")
        if self.desk.flaw == "shifts nothing":
            return
        self.weight = weight
        if weight or self.desk.flaw != "stays when shifted back":
            self.desk.version = "2.0.0" if weight else "1.0.0"

    def commit(self):
        super().commit()
        if self.desk.flaw == "changes at commit":
            self.desk.version = "2.0.1"

    def revert(self):
        if self.desk.flaw == "reverts once only" and not self.weight:
            raise ValueError("nothing to revert")
        super().revert()
        if self.desk.flaw != "leaves something behind":
            self.desk.version = "1.0.0"

    def running(self):
        return {"desk": "2.0.0"} if self.desk.flaw == "says what it wishes" else {"desk": self.desk.version}


@frozen
class DeskScenario:
    plugin: Desk

    @property
    def plan(self):
        step = sample_step(component=sample_descriptor(name="desk"))
        return sample_plan(requests=(UpgradeRequest(component_name="desk", target_version="2.0.0"),), steps=(step,))

    def state(self):
        return self.plugin.version


def swap_checks(flaw=""):
    @contextlib.contextmanager
    def scenario():
        yield DeskScenario(Desk(flaw))

    names = {check.name for check in conformance_checks(Desk)}
    return [check for check in conformance_checks(Desk, scenario=scenario) if check.name not in names]


def test_a_swap_that_keeps_its_promises_passes_in_its_scenario():
    checks = swap_checks()
    assert len(checks) == 7
    assert all(check.description for check in checks)
    assert verdicts(checks) == {}


@pytest.mark.parametrize(
    ("flaw", "check", "said"),
    [
        ("stages nothing", "swap_then_revert_restores", "staged nothing"),
        ("visible when staged", "staging_is_invisible", "not as before after staging: '2.0.0'"),
        ("leaves something behind", "swap_then_revert_restores", "not as before after revert"),
        ("shifts nothing", "swap_then_revert_restores", "shift(1.0) changed nothing"),
        ("reverts once only", "revert_is_idempotent", "nothing to revert"),
        ("stays when shifted back", "shift_back_restores", "after shift(0.0)"),
        ("changes at commit", "commit_keeps_the_new_version", "'2.0.1'"),
        ("says what it wishes", "says_what_runs", "`running()` says {'desk': '2.0.0'}"),
        ("claims too much", "keeps_to_its_capabilities", "['magic'], which is no capability"),
        ("cannot take shares", "keeps_to_its_capabilities", "no shares after all"),
    ],
)
def test_a_swap_that_breaks_a_promise_is_found(flaw, check, said):
    assert said in verdicts(swap_checks(flaw))[check]


def test_samples_can_be_changed_in_every_field():
    request = sample_request(priority=9)
    assert evolve(request, priority=5).priority == 5
    assert request.priority == 9


class Picky:
    """A strategy that needs what not every swap can do."""

    def __init__(self, needs="weights"):
        self.needs = needs

    def rollout(self, plan):
        if any(self.needs not in step.verdict.capabilities for step in plan.steps):
            raise InvalidRequestError(f"it needs {self.needs}")
        yield Shift(0.5)
        seen = yield Judge()
        if not seen.harm:
            yield Shift(1.0)
        else:
            yield Revert(seen.reasons)


def test_a_strategy_may_refuse_a_plan_that_lacks_what_it_needs():
    check_strategy(Picky)
    check_strategy(Picky, {"needs": "members"})


def test_a_strategy_that_refuses_every_plan_is_no_strategy():
    with pytest.raises(ConformanceError, match="refuses whatever a swap can do"):
        check_strategy(Picky, {"needs": "wings"})
