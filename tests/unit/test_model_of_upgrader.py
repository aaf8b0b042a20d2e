"""Any order of an Upgrader's operations, of failures, kills and restarts, against a simple model of what must be so.

The journal, the store and the sources are the real ones; the component is the shelf.
"""

import asyncio
import contextlib
import os
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import Phase as HypothesisPhase
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from noodle_upgrade_core import Observation, Phase, UpgradeStatus
from noodle_upgrade_core import errors as e

from .shelf import Shelf, ask, fill, gate_at, opened, until

NAMES = ("book", "lamp")
SOON = 0.02
LONG = {"soak": 60}
VERSIONS = st.sampled_from(["0.9", "1.0", "1.1", "2.0"])
TARGETS = st.dictionaries(st.sampled_from(NAMES), VERSIONS, min_size=1)
TROUBLES = {
    "validate before": Phase.REJECTED,
    "decide": Phase.REJECTED,
    "swap": Phase.ABORTED,
    "recompile": Phase.ABORTED,
    "shift": Phase.ROLLED_BACK,
    "validate after": Phase.ROLLED_BACK,
    "commit": Phase.ROLLED_BACK,
}
GATES = {
    "decide": Phase.ABORTED,
    "swap": Phase.ABORTED,
    "shift": Phase.ROLLED_BACK,
    "validate after": Phase.ROLLED_BACK,
}
UNSEEN = {Phase.REJECTED, Phase.ABORTED}


class Patient:
    """A judge that sees harm while it is told to."""

    harm = False

    def observe(self, seen):
        return Observation(harm=Patient.harm, reasons=("it smokes",) if Patient.harm else ())


class UpgraderMachine(RuleBasedStateMachine):
    """What runs is what the model says, the journal says the same, and so do the history and the doctor."""

    @initialize()
    def begin(self):
        Patient.harm = False
        self.loop = asyncio.Runner()
        in_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.folder = tempfile.TemporaryDirectory(dir=in_memory)
        fill(Path(self.folder.name))
        self.stack = contextlib.AsyncExitStack()
        self.versions = dict.fromkeys(NAMES, "1.0")  # that must run
        self.grown = dict.fromkeys(NAMES, 0)  # the generation that was seen last
        self.phases = {}  # of every upgrade that was begun, by its id
        self.plans = {}
        self.moves = {}  # what every upgrade changes: {name: (old, new)}
        self.held = {}  # which upgrade a component is held by
        self.kept = []  # plans that nobody has carried out yet, or that were carried out already
        self.used = set()  # the requests of upgrades that were committed
        self.documents = {}  # of a plugin: {key: (revision, body)}
        self.do(self.open())

    def do(self, work):
        self.sound = False
        return self.loop.run(asyncio.wait_for(work, 20))

    async def open(self):
        self.stack = contextlib.AsyncExitStack()
        self.upgrader = await self.stack.enter_async_context(
            opened(
                Path(self.folder.name),
                Shelf(**dict.fromkeys(NAMES, "1.0")),
                drivers={"judges": {"patient": Patient}},
                runtime_upgrade__drivers__judge="patient",
                runtime_upgrade__soak__tries=100,
                runtime_upgrade__rollback__max_rollback_points=100,
            )
        )
        self.shelf = self.upgrader.shelf

    async def attempt(self, work):
        """Return what it gives, or the typed error that it raises."""
        try:
            return await work
        except e.UpgradeError as error:
            return error

    def busy(self, wanted):
        return sorted(self.held[name] for name in wanted if name in self.held)

    async def plan(self, wanted, **fields):
        """Plan, and check what the model says about it; returns None for what cannot be planned."""
        asked = [ask(version, name, **fields) for name, version in sorted(wanted.items())]
        planned = await self.attempt(self.upgrader.plan(asked))
        if any(self.phases[holder] is Phase.SOAKING for holder in self.busy(wanted)):
            assert isinstance(planned, e.UpgradeBusyError), planned
            return None
        stuck = any(self.phases[holder] is Phase.STUCK for holder in self.busy(wanted))
        if not stuck and any(self.versions[name] == version for name, version in wanted.items()):
            assert isinstance(planned, e.VersionRunningError), planned
            return None
        if stuck:
            return None if isinstance(planned, e.UpgradeError) else planned
        assert not isinstance(planned, e.UpgradeError), planned
        assert {step.name: (step.from_version, step.to_version) for step in planned.steps} == {
            name: (self.versions[name], version) for name, version in wanted.items()
        }
        return planned

    async def carry_out(self, plan, ends, **trouble):
        """Upgrade; it must end in this phase, unless a component is held or the plan is an old one."""
        names = {step.name for step in plan.steps}
        requests = {one.request_id for one in plan.requests}
        stale = any(self.versions[step.name] != step.from_version for step in plan.steps)
        self.shelf.fail = {place: RuntimeError("clumsy") for place in trouble.get("fail", ())}
        found = await self.attempt(self.upgrader.upgrade(plan))
        self.shelf.fail = {}
        if self.busy(names):
            error = found if isinstance(found, e.UpgradeError) else found.error
            assert isinstance(error, (e.UpgradeBusyError, e.InvalidRequestError)), found
            return None
        if stale:
            assert isinstance(found, e.InvalidRequestError), found
            return None
        if requests & self.used:
            error = found if isinstance(found, e.UpgradeError) else found.error
            assert isinstance(error, e.InvalidRequestError), found
            assert not getattr(found, "success", False)
            return None
        assert not isinstance(found, e.UpgradeError), found
        assert (found.phase, found.success) == (ends, ends is Phase.DONE), found
        assert (found.error is None) is found.success
        self.note(found.upgrade_id, plan, ends, committed=ends is Phase.DONE or bool(trouble.get("soaked")))
        return found

    def note(self, upgrade_id, plan, ends, *, committed):
        self.phases[upgrade_id] = ends
        self.plans[upgrade_id] = plan
        self.moves[upgrade_id] = {step.name: (step.from_version, step.to_version) for step in plan.steps}
        if committed:
            self.used |= {one.request_id for one in plan.requests}
        for name, (_, new) in self.moves[upgrade_id].items():
            if ends in {Phase.DONE, Phase.SOAKING}:
                self.versions[name] = new
            if ends in {Phase.SOAKING, Phase.STUCK}:
                self.held[name] = upgrade_id
        self.grows(self.moves[upgrade_id], ends not in {*UNSEEN, Phase.STUCK})

    def grows(self, names, grown=True):
        for name in names:
            generation = self.upgrader.journal.active_of(name).generation
            assert generation > self.grown[name] if grown else generation == self.grown[name], name

    def freed(self, upgrade_id, ends):
        """Note how an upgrade has ended that held its components."""
        self.phases[upgrade_id] = ends
        for name, (old, _) in self.moves[upgrade_id].items():
            self.held.pop(name, None)
            if ends is Phase.ROLLED_BACK:
                self.versions[name] = old
        self.grows(self.moves[upgrade_id], ends is Phase.ROLLED_BACK)

    # --- what people do ------------------------------------------------------------------------------------------

    @rule(wanted=TARGETS)
    def upgrade(self, wanted):
        async def story():
            plan = await self.plan(wanted)
            if plan is not None:
                self.kept.append(plan)
                await self.carry_out(plan, Phase.DONE)

        self.do(story())

    @rule(wanted=TARGETS)
    def only_plan(self, wanted):
        async def story():
            plan = await self.plan(wanted)
            if plan is not None:
                self.kept.append(plan)

        self.do(story())

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def carry_out_a_plan_of_earlier_or_once_more(self, data):
        plan = data.draw(st.sampled_from(self.kept[-6:]), label="plan")
        self.do(self.carry_out(plan, Phase.DONE))

    @rule(wanted=TARGETS, place=st.sampled_from(sorted(TROUBLES)))
    def upgrade_with_trouble(self, wanted, place):
        async def story():
            plan = await self.plan(wanted)
            if plan is not None:
                self.kept.append(plan)
                await self.carry_out(plan, TROUBLES[place], fail=[place])

        self.do(story())

    @rule(wanted=TARGETS)
    def upgrade_with_harm(self, wanted):
        async def story():
            plan = await self.plan(wanted, parameters=LONG)
            if plan is not None:
                Patient.harm = True
                await self.carry_out(plan, Phase.ROLLED_BACK, soaked=True)
                Patient.harm = False

        self.do(story())

    @rule(wanted=TARGETS)
    def upgrade_that_soaks_for_a_moment(self, wanted):
        async def story():
            plan = await self.plan(wanted, parameters={"soak": SOON})
            if plan is not None:
                await self.carry_out(plan, Phase.DONE, soaked=True)

        self.do(story())

    @precondition(lambda self: not self.held)
    @rule(wanted=TARGETS, moved=st.booleans())
    def upgrade_that_gets_stuck(self, wanted, moved):
        async def story():
            plan = await self.plan(wanted)
            if plan is not None:
                await self.carry_out(plan, Phase.STUCK, fail=["validate after", "revert"] if moved else ["running"])

        self.do(story())

    @precondition(lambda self: not self.held)
    @rule(wanted=TARGETS)
    def upgrade_that_soaks_on(self, wanted):
        async def story():
            plan = await self.plan(wanted, parameters=LONG)
            if plan is None or self.busy(wanted):
                return
            upgrade_id = await self.upgrader.start(plan)
            await until(lambda: self.upgrader.get_upgrade_status(upgrade_id)["phase"] is Phase.SOAKING)
            self.note(upgrade_id, plan, Phase.SOAKING, committed=True)

        self.do(story())

    @precondition(lambda self: Phase.SOAKING in self.phases.values())
    @rule(data=st.data())
    def cancel_what_soaks(self, data):
        soaking = sorted(name for name, holder in self.held.items() if self.phases[holder] is Phase.SOAKING)
        upgrade_id = self.held[data.draw(st.sampled_from(soaking), label="soaks")]

        async def story():
            assert await self.upgrader.cancel_upgrade(upgrade_id, by="alice") is UpgradeStatus.CANCELLED
            self.freed(upgrade_id, Phase.ROLLED_BACK)

        self.do(story())

    @rule(wanted=TARGETS, place=st.sampled_from(sorted(GATES)))
    def cancel_on_the_way(self, wanted, place):
        async def story():
            plan = await self.plan(wanted)
            if plan is None or self.busy(wanted):
                return
            entered, go_on = gate_at(self.shelf, place)
            upgrade_id = await self.upgrader.start(plan)
            await until(entered.is_set)
            cancelling = asyncio.create_task(self.upgrader.cancel_upgrade(upgrade_id, by="alice"))
            await asyncio.sleep(0)
            go_on.set()
            assert await cancelling is UpgradeStatus.CANCELLED
            self.shelf.wait.clear()
            self.note(upgrade_id, plan, GATES[place], committed=False)

        self.do(story())

    @rule(name=st.sampled_from(NAMES))
    def roll_back(self, name):
        async def story():
            found = await self.attempt(self.upgrader.rollback(name))
            chosen = self.way_back(name)
            if isinstance(chosen, type):
                assert isinstance(found, chosen), found
                return
            assert not isinstance(found, e.UpgradeError), found
            assert found.raise_for_error().success
            assert found.upgrade_id == chosen
            self.freed(chosen, Phase.ROLLED_BACK)

        self.do(story())

    @precondition(lambda self: any(isinstance(self.way_back(name), str) for name in NAMES))
    @rule()
    def roll_back_and_carry_the_same_plan_out_once_more(self):
        """Its request was carried out already, though the version that it was for runs again."""
        name = next(name for name in NAMES if isinstance(self.way_back(name), str))
        upgrade_id = self.way_back(name)
        plan = self.plans.get(upgrade_id)
        self.roll_back(name)
        if plan is not None:
            self.do(self.carry_out(plan, Phase.DONE))

    @precondition(lambda self: not self.held)
    @rule(name=st.sampled_from(NAMES))
    def come_to_a_version_by_two_ways_and_go_back_by_the_last(self, name):
        ways = [version for version in ("0.9", "1.1", "2.0") if version != self.versions[name]]
        for version in (ways[0], ways[1], ways[0]):
            self.upgrade({name: version})
        self.roll_back(name)
        assert self.shelf.versions[name] == ways[1]

    @precondition(lambda self: not self.held)
    @rule(moved=st.sampled_from(NAMES))
    def move_one_of_a_set_on_and_go_back_with_the_other(self, moved):
        other = next(name for name in NAMES if name != moved)
        new = "2.0" if "1.1" in self.versions.values() else "1.1"
        if new not in self.versions.values():
            self.upgrade(dict.fromkeys(NAMES, new))
            self.upgrade({moved: "0.9"})
            self.roll_back(other)
            assert self.shelf.versions == {moved: "0.9", other: new}

    @rule(key=st.sampled_from("de"), drop=st.booleans())
    def change_a_document(self, key, drop):
        async def story():
            documents, (at, _) = self.upgrader.documents("acme"), self.documents.get(key, (0, None))
            if drop and at:
                await documents.drop(key, who="alice", why="over", expected=at)
                del self.documents[key]
            else:
                kept = await documents.keep(key, {"before": at}, who="alice", why="on", expected=at)
                assert kept.revision > at
                self.documents[key] = (kept.revision, {"before": at})

        self.do(story())

    def way_back(self, name):
        """Return which upgrade a rollback takes back, or the error that says why none."""
        holder = self.held.get(name)
        if holder is not None:
            return e.UpgradeBusyError if self.phases[holder] is Phase.SOAKING else holder
        for upgrade_id, moves in reversed(self.moves.items()):
            if self.phases[upgrade_id] is Phase.DONE and moves.get(name, ("", ""))[1] == self.versions[name]:
                # What was committed as one goes back as one.
                if any(self.versions[other] != new for other, (_, new) in moves.items()):
                    return e.RollbackUnavailableError
                return e.UpgradeBusyError if self.busy(moves) else upgrade_id
        return e.RollbackUnavailableError

    # --- what happens to the process -----------------------------------------------------------------------------

    @rule()
    def restart(self):
        async def story():
            before = self.stack
            await before.aclose()
            await self.open()

        self.do(story())
        self.after_a_start()

    @rule()
    def kill(self):
        async def story():
            before = self.stack
            self.upgrader.journal.release_lease()
            await self.open()
            await before.aclose()

        self.do(story())
        self.after_a_start()

    @rule(wanted=TARGETS)
    def kill_while_traffic_moves(self, wanted):
        async def story():
            plan = await self.plan(wanted)
            if plan is None or self.busy(wanted):
                return
            before = self.stack
            entered, go_on = gate_at(self.shelf, "shift")
            upgrade_id = await self.upgrader.start(plan)
            await until(entered.is_set)
            self.upgrader.journal.release_lease()
            await self.open()
            go_on.set()
            await before.aclose()
            self.note(upgrade_id, plan, Phase.ROLLED_BACK, committed=False)

        self.do(story())
        self.after_a_start()

    def after_a_start(self):
        """A soak goes on, and what is stuck stays so; the shelf came back with what the journal names."""
        active = {one["upgrade_id"] for one in self.upgrader.get_upgrade_status()["active"]}
        assert active == {holder for holder in self.held.values() if self.phases[holder] is Phase.SOAKING}

    # --- what is always so ---------------------------------------------------------------------------------------

    @invariant()
    def everything_agrees(self):
        if hasattr(self, "upgrader"):
            self.what_runs_is_what_the_model_the_journal_and_the_components_say()
            self.the_history_is_what_was_done_and_the_numbers_agree()
            self.the_doctor_finds_nothing_but_what_is_stuck()
            self.sound = True

    def what_runs_is_what_the_model_the_journal_and_the_components_say(self):
        stuck = {name for name, holder in self.held.items() if self.phases[holder] is Phase.STUCK}
        for pointer in self.upgrader.journal.active():
            name = pointer.component_name
            assert pointer.generation >= self.grown[name]
            self.grown[name] = pointer.generation
            assert pointer.version == self.versions[name]
            assert name in stuck or self.shelf.versions[name] == self.versions[name]
        documents = self.upgrader.documents("acme").all()
        assert {one.key: (one.revision, one.body) for one in documents} == self.documents
        components = {one.name: one.version for one in self.do(self.upgrader.discover_components())}
        assert components == self.shelf.versions

    def the_history_is_what_was_done_and_the_numbers_agree(self):
        history = {row["upgrade_id"]: row for row in self.upgrader.get_upgrade_history(1000)}
        assert {key: history[key]["phase"] for key in self.phases} == self.phases
        # What is more than that was refused before anything had happened.
        assert {row["phase"] for key, row in history.items() if key not in self.phases} <= UNSEEN
        for key, moves in self.moves.items():
            assert history[key]["from_versions"] == {name: old for name, (old, _) in moves.items()}
            assert history[key]["to_versions"] == {name: new for name, (_, new) in moves.items()}
        numbers = self.upgrader.get_upgrade_status()["phases"]
        for phase in set(Phase) - UNSEEN:
            assert numbers.get(phase, 0) == list(self.phases.values()).count(phase)

    def the_doctor_finds_nothing_but_what_is_stuck(self):
        stuck = Phase.STUCK in self.phases.values()
        found = [one for one in self.do(self.upgrader.doctor()) if not (stuck and "stuck" in one.code)]
        assert found == []

    def teardown(self):
        if not hasattr(self, "upgrader"):
            return
        try:
            if self.sound:
                self.do(self.the_next_upgrades_succeed())
        finally:
            self.do(self.stack.aclose())
            self.loop.close()
            self.folder.cleanup()

    async def the_next_upgrades_succeed(self):
        """Whatever has happened: what is held can be freed, and then every component can be upgraded."""
        while self.held:
            name, holder = min(self.held.items())
            if self.phases[holder] is Phase.SOAKING:
                await self.upgrader.cancel_upgrade(holder)
            elif self.phases[holder] is Phase.STUCK:
                (await self.upgrader.rollback(name)).raise_for_error()
            self.freed(holder, Phase.ROLLED_BACK)
        wanted = {name: "2.0" if self.versions[name] != "2.0" else "0.9" for name in NAMES}
        await self.carry_out(await self.plan(wanted), Phase.DONE)
        assert self.shelf.versions == wanted
        assert await self.upgrader.doctor() == ()


class TestAnyOrder(UpgraderMachine.TestCase):
    settings = settings(
        max_examples=30,
        stateful_step_count=20,
        deadline=None,
        phases=[HypothesisPhase.generate],  # what waits for something that never comes would be tried again for minutes
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
