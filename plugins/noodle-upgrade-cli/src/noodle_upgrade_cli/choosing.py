"""Which upgrade is meant where none is named: the only one that is active."""

from __future__ import annotations

from noodle_upgrade_cli.client import ControlClient
from noodle_upgrade_cli.failures import UsageMistakeError

__all__ = ["chosen_upgrade"]


def chosen_upgrade(client: ControlClient, upgrade_id: str) -> str:
    """Return the id that was given, or that of the only active upgrade.

    Raises `UsageMistakeError` where none is active, or several are.
    """
    if upgrade_id:
        return upgrade_id
    active = [str(row.get("upgrade_id") or "") for row in client.status().get("active") or () if isinstance(row, dict)]
    if not active:
        raise UsageMistakeError("No upgrade is active.", hint="See `noodle history` for those that have ended.")
    if len(active) > 1:
        raise UsageMistakeError(
            f"{len(active)} upgrades are active.", hint=f"Name one of them: {', '.join(active)}; see `noodle status`."
        )
    return active[0]
