"""What plugins can be asked for by name: the way from a command, or another process, to a plugin's own service."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from noodle_upgrade_core.errors import InvalidRequestError, OperationUnknownError, PluginBrokenError
from noodle_upgrade_core.hookspecs import Operation
from noodle_upgrade_core.phases.runner import Runner
from noodle_upgrade_core.wire import to_wire

__all__ = ["offered", "operate"]


async def offered(runner: Runner) -> dict[str, Operation]:
    """Return every operation by name; of two with one name the first plugin's counts."""
    return {name: operation for name, (_, operation) in (await _found(runner)).items()}


async def operate(runner: Runner, name: str, arguments: Mapping[str, Any], *, by: str) -> Any:
    """Carry one out within its time limit and return its answer as JSON values; raises `OperationUnknownError`."""
    found = await _found(runner)
    if name not in found:
        close = difflib.get_close_matches(name, found, n=1)
        raise OperationUnknownError(
            f"No plugin here has an operation {name[:80]!r}.",
            hint=f"Did you mean {close[0]!r}?"
            if close
            else "Is its plugin installed and enabled? `noodle plugins list`",
            details={"operations": sorted(found)},
        )
    plugin, operation = found[name]
    answer = await runner.call(plugin, operation.call, dict(arguments), by, limit=operation.seconds)
    try:
        return to_wire(answer)
    except InvalidRequestError as error:
        raise PluginBrokenError(
            f"The operation {name!r} of {plugin} returned what is no JSON value: {error}"
        ) from error


async def _found(runner: Runner) -> dict[str, tuple[str, Operation]]:
    found: dict[str, tuple[str, Operation]] = {}
    for reply in await runner.ask("operations"):
        for operation in reply.value or ():
            found.setdefault(operation.name, (reply.plugin, operation))
    return found
