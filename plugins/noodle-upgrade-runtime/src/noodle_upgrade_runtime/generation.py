"""The generation engine: a whole version beside the old one, and one flip of the handles in front of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from attrs import frozen

from noodle_upgrade_core.errors import SwapRefusedError
from noodle_upgrade_core.model import Verdict
from noodle_upgrade_core.staged import COUNTS, WEIGHTS, Arm
from noodle_upgrade_runtime.drain import Drain, InFlight
from noodle_upgrade_runtime.engine import Change
from noodle_upgrade_runtime.gate import Gate
from noodle_upgrade_runtime.handles import Bound, Handles, Link, bind, extend, flip, process_handles
from noodle_upgrade_runtime.loading import Loading
from noodle_upgrade_runtime.modulename import ModuleName
from noodle_upgrade_runtime.names import Names
from noodle_upgrade_runtime.namespace import Space
from noodle_upgrade_runtime.operations import Operation, Script
from noodle_upgrade_runtime.quiescence import NOBODY
from noodle_upgrade_runtime.routing import Router, routed_methods
from noodle_upgrade_runtime.state import Chain, has_state
from noodle_upgrade_runtime.trees import contents_of, member_of

__all__ = ["GenerationEngine", "GenerationPrepared"]

STATIC_SECONDS = 0.2
"""What a generation swap takes when no rehearsal has measured it."""


@frozen(kw_only=True, eq=False)
class _Turn:
    """One handle's move from one version to the other."""

    handle: Any
    link: Link
    change: Change
    old: Bound
    new: Bound
    chain: Chain


class GenerationEngine:
    """A driver of `noodle_upgrade.engines`: for components that the program calls through handles."""

    mechanism = "generation"

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
        capabilities = {COUNTS, WEIGHTS}
        reasons = [f"{len(held)} handle{'s' if len(held) != 1 else ''} of {name} can be flipped in one step"]
        if any(has_state(link.bound.target) for link in links):
            # Two copies of one state that serve at once would drift apart.
            capabilities.discard(WEIGHTS)
            reasons.append("its state moves with it, so that all traffic moves at once")
        else:
            reasons.append("traffic can move by shares")
        return Verdict(
            feasible=not blockers,
            mechanism=self.mechanism,
            engine=self.mechanism,
            reasons=tuple(reasons) if held else (),
            blockers=tuple(blockers),
            warnings=_direct_users(change),
            capabilities=frozenset(capabilities),
            expected_seconds=STATIC_SECONDS,
            pause_seconds=1e-6 * max(1, len(held)),
            evidence={"handles": len(held), "entry_points": sorted({link.entry_point for link in links})},
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
        turns = [_turn(one, change, space) for change in changes for one in self._held(change)]
        prepared = GenerationPrepared(turns, space, changes, self._handles)
        prepared.hand_over()
        prepared.evidence = {"handles": len(turns), "stateful": sum(map(turn_has_state, turns))}
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


def _turn(handle: Any, change: Change, space: Space) -> _Turn:
    link = link_of(handle)
    new = bind(space, change.to_version, link.entry_point, link.arguments)
    chain = Chain(change=change, entry_point=link.entry_point, old=link.bound, new=new)
    return _Turn(handle=handle, link=link, change=change, old=link.bound, new=new, chain=chain)


def link_of(handle: Any) -> Link:
    """Return what a handle knows of itself."""
    link: Link = handle._noodle_
    return link


def turn_has_state(turn: _Turn) -> bool:
    """Whether state goes from the old object to the new one."""
    return has_state(turn.old.target)


class GenerationPrepared:
    """New versions in a private space, ready to be flipped to."""

    mechanism = GenerationEngine.mechanism

    def __init__(self, turns: Sequence[_Turn], space: Space, changes: tuple[Change, ...], handles: Handles) -> None:
        self.component_names = tuple(change.component.name for change in changes)
        self.evidence: Mapping[str, Any] = {}
        self.warnings: tuple[str, ...] = ()
        self._turns = tuple(turns)
        self._spaces = [space]
        self._changes = changes
        self._router: Router | None = None
        self._routing: Script | None = None
        self._handles = handles
        stateful = any(map(turn_has_state, self._turns))
        self.capabilities = frozenset({COUNTS}) if stateful else frozenset({COUNTS, WEIGHTS})
        # A call under way in the old object, also a suspended one, would change state that has gone over already.
        self.quiet_names = self.stateful_names = _names_of(changes) if stateful else NOBODY
        for turn in self._turns:
            extend(turn.handle, turn.new.surface)

    def space_of(self, component: str) -> Space | None:
        """Return the private space in which the new version of a component lies."""
        return self._spaces[0] if self._spaces and component in self.component_names else None

    # --- state ---------------------------------------------------------------------------------------------------

    def gate(self, within: float) -> Gate:
        """Return a gate that keeps new calls from the handles with state for as long as that moves."""
        return Gate([turn.handle for turn in self._turns if turn_has_state(turn)], within=within)

    def hand_over(self) -> None:
        """Carry the state of every old object to its new one; the old ones keep theirs. Raises `MigrationError`."""
        for turn in self._turns:
            turn.chain.forward()

    def hand_back(self) -> None:
        """Carry what the new version has made of the state back to the old one, before all traffic goes back to it."""
        for turn in self._turns:
            turn.chain.backward()

    # --- what RuntimeSwap asks for -------------------------------------------------------------------------------

    def operations(self) -> Sequence[Operation]:
        """Return the flip of every handle; what state there is has been handed over just before."""
        self._take_in_latecomers()
        made = []
        for turn in self._turns:
            old, new = turn.old.surface.methods, turn.new.surface.methods
            made += flip(turn.handle, old, new, before=turn.old, after=turn.new)
        return made

    def _take_in_latecomers(self) -> None:
        """Handles that were made since the change was staged go along."""
        known = {id(turn.handle) for turn in self._turns}
        for change in self._changes:
            for one in self._handles.of(change.component.name):
                if id(one) not in known and link_of(one).bound.space is not self._spaces[0]:
                    turn = _turn(one, change, self._spaces[0])
                    extend(one, turn.new.surface)
                    self._turns = (*self._turns, turn)
                    # Nothing has passed through it but what its own object knows, which is new.
                    turn.chain.forward()

    def route(self, weight: float) -> None:
        """Send this share of calls to the new version, and count from the first share on."""
        if weight == 0.0:
            self._unroute()
            return
        if self._router is None:
            first = self._changes[0]
            salt = ",".join(f"{c.component.name} {c.to_version}" for c in self._changes)
            self._router = Router(old_version=first.from_version, new_version=first.to_version, salt=salt)
        self._router.route(weight)
        if self._routing is None:
            operations: list[Operation] = []
            for turn in self._turns:
                plain = turn.old.surface.methods
                routed = routed_methods(plain, turn.new.surface.methods, self._router, turn.link.key)
                operations += flip(turn.handle, plain, routed, before=turn.old, after=turn.old)
            self._routing = Script(operations)
            self._routing.apply()
        for turn in self._turns:
            # Data attributes follow where all calls go.
            turn.link.bound = turn.new if weight == 1.0 else turn.old

    def _unroute(self) -> None:
        if self._router is not None:
            self._router.route(0.0)
        if self._routing is not None:
            for turn in self._turns:
                turn.link.bound = turn.old
            self._routing.revert()
            self._routing = None

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
        self._routing = None
        for turn in self._turns:
            turn.chain.release()

    def running(self) -> dict[str, str]:
        """Return what the handles are bound to."""
        found = {}
        for change in self._changes:
            mine = [turn for turn in self._turns if turn.change is change]
            new = all(turn.link.bound is turn.new for turn in mine)
            found[change.component.name] = change.to_version if new else change.from_version
        return found

    def release(self) -> Drain | None:
        """Let go of the old version; the drain that comes back tells when its last call has left."""
        return self._let_go(turn.old.space for turn in self._turns)

    def discard(self) -> Drain | None:
        """Let go of the new version, which nobody will go to any more."""
        return self._let_go(self._spaces)

    def _let_go(self, spaces: Iterable[Space | None]) -> Drain | None:
        # Components that were upgraded as a set share a space; it goes when the last of them has moved on.
        used = {id(link_of(one).bound.space) for name in self._handles.components() for one in self._handles.of(name)}
        going = list({id(space): space for space in spaces if space is not None and id(space) not in used}.values())
        for space in going:
            space.release()
        # This object may be kept on; what it knows must not keep a version.
        self._turns, self._routing = (), None
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
