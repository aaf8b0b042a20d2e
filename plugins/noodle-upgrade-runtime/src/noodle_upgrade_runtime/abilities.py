"""What can be done with a component behind handles besides one flip: shares, members, a shadow; and why not."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from noodle_upgrade_core.staged import COUNTS, MEMBERS, SHADOW, WEIGHTS
from noodle_upgrade_runtime.links import Link
from noodle_upgrade_runtime.state import has_state

__all__ = ["Abilities", "abilities_of"]


@frozen
class Abilities:
    """Capabilities of a staged swap, and sentences for people that say which and why."""

    capabilities: frozenset[str]
    reasons: tuple[str, ...]


def abilities_of(links: Sequence[Link]) -> Abilities:
    """Say what the handles of one component allow."""
    capabilities, reasons = {COUNTS}, []
    targets = [id(link.bound.target) for link in links if has_state(link.bound.target)]
    several, shared = len(links) > 1, len(set(targets)) < len(targets)
    if several and not shared:
        capabilities.add(MEMBERS)
    if not targets:
        capabilities.add(WEIGHTS)
        reasons.append("traffic can move by shares")
    elif MEMBERS in capabilities:
        # Two copies of one state that serve at once would drift apart.
        reasons.append("its state moves with it, so that traffic moves by whole members, each with its own state")
    else:
        reasons.append("its state moves with it, so that all traffic moves at once")
    if several:
        reasons.append(
            "several of its handles stand for one object with state, which cannot be two versions at once"
            if shared
            else f"its {len(links)} members can move one by one"
        )
    copied = sorted({name for link in links for name in link.copying.within(link.bound.surface)})
    if copied:
        capabilities.add(SHADOW)
        reasons.append(f"copies of calls of {', '.join(copied)} can be run on the new version before it serves")
    return Abilities(frozenset(capabilities), tuple(reasons))
