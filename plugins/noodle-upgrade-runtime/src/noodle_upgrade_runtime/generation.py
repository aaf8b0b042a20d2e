"""The generation engine: a whole version beside the old one, and one flip of the handles in front of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from noodle_upgrade_core.errors import InvalidRequestError, SwapRefusedError
from noodle_upgrade_core.model import Verdict
from noodle_upgrade_core.staged import MEMBERS, SHADOW, Arm, Member
from noodle_upgrade_runtime.abilities import abilities_of
from noodle_upgrade_runtime.crossing import Crossing
from noodle_upgrade_runtime.double import Double
from noodle_upgrade_runtime.drain import Drain, InFlight
from noodle_upgrade_runtime.engine import Change
from noodle_upgrade_runtime.gate import Gate
from noodle_upgrade_runtime.handles import Handles, flip, process_handles
from noodle_upgrade_runtime.lanes import Lanes
from noodle_upgrade_runtime.links import link_of
from noodle_upgrade_runtime.loading import Loading
from noodle_upgrade_runtime.modulename import ModuleName
from noodle_upgrade_runtime.names import Names
from noodle_upgrade_runtime.namespace import Space
from noodle_upgrade_runtime.operations import Operation
from noodle_upgrade_runtime.quiescence import NOBODY
from noodle_upgrade_runtime.routing import Lane, Router, routed_methods
from noodle_upgrade_runtime.trees import contents_of, member_of
from noodle_upgrade_runtime.turns import Turn, turn_of

__all__ = ["GenerationEngine", "GenerationPrepared"]

STATIC_SECONDS = 0.2
"""What a generation swap takes when no rehearsal has measured it."""


class GenerationEngine:
    """A driver of `noodle_upgrade.engines`: for components that the program calls through handles."""

    mechanism = "generation"
    is_imported = False
    """What handles stand for is loaded privately: no import has to find it."""

    def __init__(self, *, handles: Handles | None = None) -> None:
        self._handles = process_handles() if handles is None else handles

    def assess(self, change: Change) -> Verdict:
        """Say whether there are handles to flip and nothing that cannot be loaded twice."""
        name, held = change.component.name, self._handles.of(change.component.name)
        blockers = []
        if not held:
            blockers.append(f"nothing in this program calls {name} through a handle")
        if compiled := contents_of(change.new_tree).extension_modules:
            blockers.append(f"{name} {change.to_version} has extension modules: {', '.join(compiled[:3])}")
        links = [link_of(one) for one in held]
        can = abilities_of(links)
        reasons = (
            f"{len(held)} handle{'s' if len(held) != 1 else ''} of {name} can be flipped in one step",
            *can.reasons,
        )
        return Verdict(
            feasible=not blockers,
            mechanism=self.mechanism,
            engine=self.mechanism,
            reasons=reasons if held else (),
            blockers=tuple(blockers),
            warnings=_direct_users(change),
            capabilities=can.capabilities,
            expected_seconds=STATIC_SECONDS,
            pause_seconds=1e-6 * max(1, len(held)),
            evidence={
                "handles": len(held),
                "entry_points": sorted({link.entry_point for link in links}),
                "members": [{"name": link.member, "domain": link.domain} for link in links],
            },
        )

    def stage(self, changes: tuple[Change, ...], *, cancelled: Callable[[], bool]) -> GenerationPrepared:
        """Load the new versions into one private space, make their objects, and try the state on them."""
        started = time.perf_counter()
        space = Space([member_of(c.component.name, c.to_version, c.new_tree) for c in changes])
        loading = Loading(lambda: self._prepare(changes, space), name="noodle generation staging")
        try:
            prepared: GenerationPrepared = loading.result(cancelled)
        except BaseException:
            # A thread that hangs in an import of this space can load nothing more of it.
            space.abandon()
            raise
        prepared.evidence = {
            **prepared.evidence,
            "modules": len(space.modules()),
            "stage_ms": round((time.perf_counter() - started) * 1000, 2),
        }
        return prepared

    def _prepare(self, changes: tuple[Change, ...], space: Space) -> GenerationPrepared:
        turns = [turn_of(one, change, space) for change in changes for one in self._held(change)]
        prepared = GenerationPrepared(turns, space, changes, self._handles)
        prepared.hand_over()
        prepared.evidence = {"handles": len(turns), "stateful": sum(turn.has_state for turn in turns)}
        return prepared

    def _held(self, change: Change) -> tuple[Any, ...]:
        held = self._handles.of(change.component.name)
        if not held:
            raise SwapRefusedError(
                f"Nothing in this program calls {change.component.name} through a handle.",
                hint="Make one with noodle_upgrade_runtime.handle, or let the patch engine change it.",
                details={"blockers": [f"no handle of {change.component.name}"]},
            )
        return held


class GenerationPrepared:
    """New versions in a private space, ready to be flipped to."""

    mechanism = GenerationEngine.mechanism

    def __init__(self, turns: Sequence[Turn], space: Space, changes: tuple[Change, ...], handles: Handles) -> None:
        self.component_names = tuple(change.component.name for change in changes)
        self.evidence: Mapping[str, Any] = {}
        self.warnings: tuple[str, ...] = ()
        self._turns = tuple(turns)
        self._spaces = [space]
        self._changes = changes
        self._router: Router | None = None
        self._lanes = Lanes(self._routed)
        self._double: Double | None = None
        self._is_settled = False
        self._handles = handles
        self.capabilities = abilities_of([turn.link for turn in turns]).capabilities
        if len(changes) > 1:
            # Whose members, and whose calls, nobody could say.
            self.capabilities -= {MEMBERS, SHADOW}
        # A call under way in the old object, also a suspended one, would change state that has gone over already.
        stateful = any(turn.has_state for turn in self._turns)
        self.quiet_names = self.stateful_names = _names_of(changes) if stateful else NOBODY

    def space_of(self, component: str) -> Space | None:
        """Return the private space in which the new version of a component lies."""
        return self._spaces[0] if self._spaces and component in self.component_names else None

    # --- state ---------------------------------------------------------------------------------------------------

    def gate(self, within: float) -> Gate:
        """Return a gate that keeps new calls from the handles with state for as long as that moves."""
        handles = [turn.handle for turn in self._turns if turn.has_state]
        held = [handle for handle in handles if handle is not None]
        # One that has chosen its version, and is not in its code yet, is on no stack there.
        return Gate(held, within=within, entered=self._lanes.inside)

    def hand_over(self) -> None:
        """Carry the state of every old object that serves to its new one; the old ones keep theirs.

        Raises `MigrationError`.
        """
        for turn in self._turns:
            if not turn.is_new:
                turn.chain.forward()

    def hand_back(self) -> None:
        """Carry what the new version has made of the state back to the old one, before all traffic goes back to it."""
        for turn in self._turns:
            if turn.is_new:
                turn.chain.backward()

    # --- what RuntimeSwap asks for -------------------------------------------------------------------------------

    def operations(self) -> Sequence[Operation]:
        """Return the flip of every handle; what state there is has been handed over just before."""
        for turn in self._take_in_latecomers():
            # Nothing has passed through it but what its own object knows, which is new.
            turn.chain.forward()
        made = []
        for turn in self._turns:
            handle = turn.handle
            if handle is not None:
                old, new = turn.old.surface.methods, turn.new.surface.methods
                made += flip(handle, old, new, before=turn.old, after=turn.new)
                link = turn.link
                made.append(Operation((setattr, link, "base", turn.new), (setattr, link, "base", turn.old), "base"))
        return [*made, *self._lanes.retiring()]

    def _take_in_latecomers(self) -> list[Turn]:
        """Handles that were made since the change was staged go along; those that have died are forgotten."""
        self._turns = tuple(turn for turn in self._turns if turn.handle is not None)
        known, fresh = {id(turn.link) for turn in self._turns}, []
        for change in self._changes:
            held = self._handles.of(change.component.name)
            others = [one for one in held if id(link_of(one)) not in known]
            late = [one for one in others if link_of(one).bound.space is not self._spaces[0]]
            fresh += [turn_of(one, change, self._spaces[0]) for one in late]
        self._turns = (*self._turns, *fresh)
        return fresh

    def route(self, weight: float) -> None:
        """Send this share of calls to the new version, and count from the first share on."""
        self.end_shadow()
        if weight == 0.0:
            self._unroute()
            return
        router = self._open_router()
        router.route(weight)
        self._lanes.lay(self._turns)
        for turn in self._turns:
            # Data attributes follow where all calls go.
            turn.link.bound = turn.new if weight == 1.0 else turn.old

    def _open_router(self) -> Router:
        if self._router is None:
            self._router = self._new_router()
        return self._router

    def _new_router(self) -> Router:
        first = self._changes[0]
        salt = ",".join(f"{c.component.name} {c.to_version}" for c in self._changes)
        return Router(old_version=first.from_version, new_version=first.to_version, salt=salt)

    def _routed(self, turn: Turn, lane: Lane) -> Mapping[str, Callable[..., Any]]:
        old, new = turn.old.surface.methods, turn.new.surface.methods
        return routed_methods(old, new, self._open_router(), turn.link.key, lane)

    def _unroute(self) -> None:
        if self._router is not None:
            self._router.route(0.0)
        self._lanes.lift()

    # --- members -------------------------------------------------------------------------------------------------

    def members(self) -> tuple[Member, ...]:
        """Return the handles that live, those included that were made since the change was staged, oldest first."""
        self._take_in_latecomers()
        return tuple(turn.link.as_member() for turn in self._turns if turn.handle is not None)

    def crossing(self, names: Iterable[str] | None = None) -> Crossing:
        """Return the step after which just these members serve the new version, all of them for None.

        Their calls are counted from now on. Raises `InvalidRequestError` for a name that no member has.
        """
        there = [member.name for member in self.members()]
        wanted = frozenset(there if names is None else names)
        if unknown := sorted(wanted.difference(there)):
            raise InvalidRequestError(
                f"There is no member {', '.join(map(repr, unknown))}.",
                hint=f"The members are: {', '.join(map(repr, there)) or 'none any more'}.",
                details={"unknown": unknown, "members": there},
            )
        self.end_shadow()
        router = self._open_router()
        self._lanes.lay(self._turns)
        return Crossing({turn: self._lanes.of(turn) for turn in self._turns if turn.handle is not None}, router, wanted)

    @property
    def share(self) -> float:
        """The share of the members that serve the new version."""
        return sum(turn.is_new for turn in self._turns) / max(1, len(self._turns))

    # --- a shadow ------------------------------------------------------------------------------------------------

    @property
    def double(self) -> Double | None:
        """The shadow that runs, if one does."""
        return self._double

    def begin_shadow(self, share: float) -> Double:
        """Load the new version once more for copies of calls; they begin when `Double.lay` is called.

        Raises `StageError` when it cannot be made, and has then left nothing behind.
        """
        self._take_in_latecomers()
        # What the shadow is counted by is its own: real traffic begins at nought, with another router.
        self._router = None
        return Double(self._changes[0], self._turns, self._new_router(), share)

    def keep_shadow(self, double: Double) -> None:
        """Note the shadow that has begun."""
        self._double = double

    def end_shadow(self) -> None:
        """End the shadow, and throw its objects away; nothing where there is none."""
        double, self._double = self._double, None
        if double is not None:
            double.end()

    def in_flight(self) -> InFlight:
        """Return the calls that are inside the old version, for whoever wants to wait for them."""
        old = [turn.old.space for turn in self._turns]
        public = _names_of(self._changes) if None in old else NOBODY
        return InFlight([space for space in old if space is not None], public)

    def arms(self) -> tuple[Arm, Arm] | None:
        """Return what both versions did since traffic began to move."""
        return None if self._router is None else self._router.arms()

    def settle(self) -> None:
        """End counting and routing: the handles hold plain methods already."""
        self._lanes.forget()
        self._is_settled = True
        for turn in self._turns:
            turn.chain.release()

    def running(self) -> dict[str, str]:
        """Return what the handles are bound to."""
        found = {}
        for change in self._changes:
            mine = [turn for turn in self._turns if turn.change is change and turn.handle is not None]
            new = all(turn.is_new for turn in mine) if mine else self._is_settled
            found[change.component.name] = change.to_version if new else change.from_version
        return found

    def release(self) -> Drain | None:
        """Let go of the old version; the drain that comes back tells when its last call has left."""
        return self._let_go(turn.old.space for turn in self._turns)

    def discard(self) -> Drain | None:
        """Let go of the new version, which nobody will go to any more."""
        return self._let_go(self._spaces)

    def _let_go(self, spaces: Iterable[Space | None]) -> Drain | None:
        self.end_shadow()
        # Components that were upgraded as a set share a space; it goes when the last of them has moved on.
        used = {id(link_of(one).bound.space) for name in self._handles.components() for one in self._handles.of(name)}
        going = list({id(space): space for space in spaces if space is not None and id(space) not in used}.values())
        for space in going:
            space.release()
        # This object may be kept on; what it knows must not keep a version.
        self._turns = ()
        self._lanes.forget()
        self._spaces = [space for space in self._spaces if space not in going]
        return Drain(going) if going else None


def _names_of(changes: Iterable[Change]) -> Names:
    return Names(root for change in changes for root in change.names)


def _direct_users(change: Change) -> tuple[str, ...]:
    """Name the modules that use the component past its handles: they stay on the version that they imported."""
    users, names = [], change.names
    for name, module in tuple(sys.modules.items()):
        top, dot, rest = name.partition(".")
        top = top.partition("@")[0]
        if module is None or top + dot + rest in names or top == __name__.partition(".")[0]:
            continue
        for value in tuple(getattr(module, "__dict__", {}).values()):
            origin = getattr(value, "__name__", "") if isinstance(value, type(sys)) else _home(value)
            if origin in names and not isinstance(origin, ModuleName):
                users.append(name)
                break
    if not users:
        return ()
    shown = ", ".join(sorted(users)[:5]) + (f" and {len(users) - 5} more" if len(users) > 5 else "")  # noqa: PLR2004
    return (f"{shown} imported {change.component.name} directly and stay on {change.from_version}",)


def _home(value: Any) -> Any:
    return value.__dict__.get("__module__") if isinstance(value, type) else getattr(value, "__module__", None)
