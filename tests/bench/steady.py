"""What a call costs when nothing goes on: after a patch, and through a handle, against a direct call."""

from __future__ import annotations

import importlib
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from attrs import evolve
from measuring import Options, Reading, alternately, call_loop, collector_off, pair_ratio
from subjects import Subject, service_source

from noodle_upgrade_runtime.generation import GenerationEngine
from noodle_upgrade_runtime.handles import Handles, handle

Pair = tuple[Callable[[], float], Callable[[], float]]


def patch(options: Options) -> list[Reading]:
    """Call what was patched, and the same code in a module that never was; the dearest kind of call is the row."""
    fable, plain, other = (Subject(options.folder, name, service_source) for name in ("fable", "plain", "other"))
    for subject, version in ((fable, 1), (plain, 2), (other, 2)):
        subject.run(version)
    old, twin, third = (importlib.import_module(name) for name in ("fable", "plain", "other"))
    held, taken = old.Service(), old.step
    swap = fable.stage(1, 2)
    swap.shift(1.0)
    swap.commit()
    if held.step(1) != 3 or taken(1) != 3:
        raise RuntimeError("the patch has not taken place")
    times = options.most(2_000, 500)
    expressions = {"method": "target.step(7)", "function": "target(7)", "module.function": "target.step(7)"}
    targets = {
        "method": (held, twin.Service(), third.Service()),
        "function": (taken, twin.step, third.step),
        "module.function": (old, twin, third),
    }
    loops = {
        kind: [call_loop(expressions[kind], times=times, target=target) for target in three]
        for kind, three in targets.items()
    }
    noise = _ratios({kind: (three[2], three[1]) for kind, three in loops.items()}, options)
    return [_worst("steady_patch", {kind: (three[0], three[1]) for kind, three in loops.items()}, options, noise)]


def handles(options: Options) -> list[Reading]:
    """Call through a handle, before and after an upgrade, and the object itself."""
    held = Handles()
    fable = Subject(options.folder, "fable", service_source)
    fable.run(1)
    module = importlib.import_module("fable")
    before = handle("fable", "fable:Service", handles=Handles())
    service, function = (handle("fable", f"fable:{name}", handles=held) for name in ("Service", "step"))
    swap = fable.stage(1, 2, engine=GenerationEngine(handles=held))
    swap.shift(1.0)
    swap.commit()
    if (before.step(1), service.step(1), function(1)) != (2, 3, 3):
        raise RuntimeError("the flip has not taken place")
    times = options.most(2_000, 500)

    def pair(expression: str, through: Any, direct: Any) -> Pair:
        one, other = (call_loop(expression, times=times, target=target) for target in (through, direct))
        return one, other

    # An object that no handle has looked at: on 3.11 and 3.12 the look at its `__dict__` alone makes it slower.
    target = type(service._noodle_.bound.target)()
    pairs = {
        "method": pair("target.step(7)", before, module.Service()),
        "method after an upgrade": pair("target.step(7)", service, target),
    }
    functions = _ratios({"function": pair("target(7)", function, function.func)}, options)
    found = _worst("steady_handle", pairs, options, {})
    return [evolve(found, note=f"{found.note}; a handle of a function {functions['function']:.3f}x")]


def _measured(pairs: dict[str, Pair], options: Options) -> dict[str, tuple[list[float], list[float]]]:
    found = {}
    with collector_off():
        for kind, (one, other) in pairs.items():
            both = alternately({"one": one, "other": other}, rounds=20 * options.rounds + 1)
            found[kind] = (both["one"], both["other"])
    return found


def _ratios(pairs: dict[str, Pair], options: Options) -> dict[str, float]:
    return {kind: pair_ratio(*both) for kind, both in _measured(pairs, options).items()}


def _worst(name: str, pairs: dict[str, Pair], options: Options, noise: dict[str, float]) -> Reading:
    found = _measured(pairs, options)
    ratios = {kind: pair_ratio(*both) for kind, both in found.items()}
    kind = max(ratios, key=lambda one: ratios[one])
    told = ", ".join(f"{one} {ratio:.3f}x" for one, ratio in ratios.items())
    floor = f"; two that were never patched: {_span(list(noise.values()))}" if noise else ""
    return Reading(
        name=name,
        value=statistics.median(found[kind][0]),
        reference=statistics.median(found[kind][1]),
        ratio=ratios[kind],
        note=told + floor,
    )


def _span(numbers: Sequence[float]) -> str:
    return f"{min(numbers):.3f}x … {max(numbers):.3f}x"
