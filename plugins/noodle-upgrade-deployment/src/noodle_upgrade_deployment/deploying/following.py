"""What an upgrade's events say of its deployment: the stage it is at, in words, with the evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field, frozen

from noodle_upgrade_core.events import Event, EventKind
from noodle_upgrade_core.model import Phase, UpgradeResult, UpgradeStatus
from noodle_upgrade_core.steps import Gate
from noodle_upgrade_deployment.deploying.records import DeploymentUpgradeState, Stage
from noodle_upgrade_deployment.policies.vocabulary import HARM_GATE

__all__ = ["Follower", "Turn", "asks_people", "end_of"]

_BY_PHASE: Mapping[str, Stage] = {
    Phase.VALIDATED: Stage.PREPARING,
    Phase.APPROVED: Stage.PREPARING,
    Phase.STAGED: Stage.WARMING,
    Phase.SHIFTING: Stage.RUNNING,
    Phase.COMMITTED: Stage.PROMOTING,
    Phase.SOAKING: Stage.BAKING,
    Phase.ROLLING_BACK: Stage.ABORTING,
}

_PAUSES: Mapping[str, bool] = {"upgrade.paused": True, "upgrade.resumed": False, "upgrade.promoted": False}


@frozen(kw_only=True)
class Turn:
    """A change of a deployment: its stage, why, who, what was seen, and what else of its state changes.

    `progress` says that something moved on, as a deadline of progress counts it.
    """

    stage: Stage
    why: str
    who: str = ""
    evidence: Mapping[str, Any] = field(factory=dict)
    changes: Mapping[str, Any] = field(factory=dict)
    progress: bool = True


@define(kw_only=True)
class Follower:
    """Reads the events of one upgrade in order; `freezes` says that harm freezes the environment."""

    freezes: bool = False
    stage: Stage = Stage.PREPARING
    seen: Mapping[str, Any] = field(factory=dict)
    """The last measurement, as it was told."""
    paused: bool = False
    """Whether a person, or a deadline, has paused it: then nothing has to move on."""
    _step: Stage = Stage.RUNNING
    _weight: float = 0.0

    def read(self, event: Event) -> Turn | None:
        """Return what an event changes, or None."""
        turn = self._read(event)
        if turn is not None:
            self.stage = turn.stage
        return turn

    def _read(self, event: Event) -> Turn | None:
        self.paused = _PAUSES.get(event.kind, self.paused)
        readers: Mapping[str, Callable[[Event], Turn | None]] = {
            EventKind.PHASE_CHANGED: self._in_phase,
            EventKind.STEP: self._stepped,
            EventKind.MEASURED: self._measured,
            EventKind.APPROVAL_NEEDED: self._gated,
            "upgrade.held": self._held_back,
            "upgrade.released": self._let_go,
        }
        reader = readers.get(event.kind)
        return None if reader is None else reader(event)

    def _in_phase(self, event: Event) -> Turn | None:
        stage = _BY_PHASE.get(str(event.data.get("to")))
        if stage is None:
            return None
        evidence = self.seen if stage is Stage.ABORTING else {}
        return Turn(
            stage=stage, why=str(event.data.get("why", "")), who=str(event.data.get("who", "")), evidence=evidence
        )

    def _held_back(self, event: Event) -> Turn:
        return Turn(stage=Stage.PAUSED, why=str(event.data.get("why", "")), progress=False)

    def _let_go(self, _: Event) -> Turn:
        return Turn(stage=Stage.RUNNING, why="traffic may move on")

    def _stepped(self, event: Event) -> Turn:
        kind = str(event.data.get("step", ""))
        # The step is told before it is carried out: its evidence is what was seen at the share before.
        self._step = Stage.JUDGING if kind == "Judge" else Stage.RUNNING
        evidence = self.seen if kind in {"Shift", "Revert"} else {}
        if kind == "Revert":
            why = "; ".join(map(str, self.seen.get("reasons", ()))) or event.message
            return Turn(stage=Stage.ABORTING, why=why, evidence=evidence, changes={"step": event.message})
        return Turn(stage=self._step, why=event.message, evidence=evidence, changes={"step": event.message})

    def _measured(self, event: Event) -> Turn | None:
        data = event.data
        self.seen = {key: data[key] for key in ("weight", "reasons", "evidence", "old", "new", "shadow") if key in data}
        weight = float(data.get("weight", 0.0))
        moved, self._weight = weight != self._weight, weight
        starved = bool(data.get("starved"))
        if self.stage is Stage.PAUSED or self._step is not Stage.JUDGING:
            return None
        stage = Stage.STARVED if starved else Stage.JUDGING
        if stage is self.stage and not moved:
            return None
        why = "; ".join(map(str, data.get("reasons", ()))) if starved else "there is traffic to judge by"
        return Turn(stage=stage, why=why, changes={"weight": weight}, progress=moved)

    def _gated(self, event: Event) -> Turn:
        harm = event.data.get("gate") == HARM_GATE
        stage = (Stage.FROZEN if self.freezes else Stage.PAUSED) if harm else Stage.GATED
        said = "; ".join(map(str, self.seen.get("reasons", ()))) if harm else ""
        why = f"it does harm ({said}), and people are asked" if harm else event.message
        return Turn(stage=stage, why=why, evidence=self.seen if harm else {}, progress=False)


def asks_people(state: DeploymentUpgradeState) -> bool:
    """Whether a deployment does harm, and people are asked what becomes of it."""
    return state.step == str(Gate(HARM_GATE))  # what is done after the gate has opened is another step


def end_of(result: UpgradeResult) -> tuple[Stage, str]:
    """Return the stage that an upgrade's end brings its deployment to, and why."""
    error = result.error
    why = "all traffic is on the new version" if error is None else error.message
    if result.phase is Phase.STUCK:
        return Stage.ROLLBACK_FAILED, why
    if result.success:
        # What a restart goes on to watch is taken back by a rollback of its own, which succeeded.
        back = result.phase is Phase.ROLLED_BACK
        return (Stage.ROLLED_BACK, "it was taken back while it was watched") if back else (Stage.SUCCEEDED, why)
    if error is not None and error.code == "upgrade.timeout" and result.phase is Phase.ROLLED_BACK:
        return Stage.INCONCLUSIVE, why
    if result.phase in {Phase.REJECTED, Phase.RECEIVED, Phase.VALIDATED}:
        return Stage.REJECTED, why
    if result.phase is Phase.ABORTED:
        return (Stage.CANCELLED if result.status is UpgradeStatus.CANCELLED else Stage.REJECTED), why
    return Stage.ROLLED_BACK, why
