"""Plans, results and lists of the API as text and tables; every word in them is other people's."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from noodle_upgrade_cli.failures import last_of_trace
from noodle_upgrade_cli.output import grid, line
from noodle_upgrade_cli.text import clean, milliseconds, seconds, sentence, span, when

__all__ = [
    "arms_rows",
    "error_view",
    "event_line",
    "fields",
    "findings_view",
    "outcome_line",
    "plan_view",
    "progress_of",
    "result_view",
    "stands_still",
    "stopping_findings",
    "waits_for",
]

_SEVERITY = {"error": "red", "warning": "yellow", "info": "dim"}
_GOOD, _BAD = "green", "red"
_REVERSIBLE = frozenset({"committed", "soaking", "done", "stuck"})
"""The phases of an upgrade that its rollback point leads away from."""


def fields(pairs: Iterable[tuple[str, Any]]) -> Table:
    """Return a list of names and values; those without a value are left out."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs:
        if value not in (None, "", [], {}):
            table.add_row(Text(name), value if isinstance(value, Text | Table) else line(value))
    return table


def plan_view(answer: Mapping[str, Any]) -> RenderableType:
    """Return a plan: each component with how, why, and what cannot be done; findings; cost."""
    plan = _mapping(answer.get("plan"))
    feasible = bool(answer.get("feasible"))
    parts: list[RenderableType] = [
        Text.assemble(
            "Plan ",
            (clean(plan.get("plan_id", "")), "bold"),
            ": ",
            ("can be carried out", _GOOD) if feasible else ("cannot be carried out", _BAD),
        ),
        _steps_table(_list(plan.get("steps"))),
    ]
    parts += _reasons(_list(plan.get("steps")))
    if plan.get("dependents"):
        parts.append(Text.assemble(("Depend on these: ", "dim"), clean(", ".join(map(str, plan["dependents"])))))
    if plan.get("findings"):
        parts.append(findings_view(_list(plan["findings"])))
    if feasible:
        parts.append(_cost_line(plan))
    return Group(*parts)


def _steps_table(steps: Sequence[Mapping[str, Any]]) -> Table:
    rows = []
    for number, step in enumerate(steps, 1):
        verdict = _mapping(step.get("verdict"))
        component = _mapping(step.get("component"))
        feasible = bool(verdict.get("feasible"))
        path = [str(version) for version in step.get("path") or (step.get("from_version"), step.get("to_version"))]
        rows.append(
            [
                str(number),
                Text(clean(component.get("name", "")), style="bold"),
                " -> ".join(path),
                Text(clean(verdict.get("mechanism", ""))) if feasible else Text("refused", style=_BAD),
                seconds(verdict.get("expected_seconds")) if feasible else "-",
                seconds(verdict.get("pause_seconds")) if feasible else "-",
            ]
        )
    return grid(["#", "Component", "From -> to", "Mechanism", "Takes", "Pause"], rows)


def _reasons(steps: Sequence[Mapping[str, Any]]) -> list[RenderableType]:
    parts: list[RenderableType] = []
    kinds = (("reasons", "why", ""), ("blockers", "cannot", _BAD), ("warnings", "note", "yellow"))
    for step in steps:
        verdict = _mapping(step.get("verdict"))
        # Of a change that is refused, what speaks for the mechanism is beside the point.
        shown = kinds if verdict.get("feasible") else kinds[1:]
        rows = [(word, style, text) for key, word, style in shown for text in verdict.get(key) or ()]
        if verdict.get("hint"):
            rows.append(("do", "", verdict["hint"]))
        if not rows:
            continue
        parts.append(Text(clean(_mapping(step.get("component")).get("name", "")), style="bold"))
        parts += [Text.assemble(f"  {word}: ", clean(text), style=style) for word, style, text in rows]
    return parts


def _cost_line(plan: Mapping[str, Any]) -> Text:
    cost = _mapping(plan.get("cost"))
    requests = _list(plan.get("requests"))
    strategy = requests[0].get("strategy", "") if requests else ""
    size = cost.get("download_bytes")
    fetched = f"; {math.ceil(size / 1024):,} KiB fetched" if isinstance(size, int) and size else ""
    return Text(
        f"Strategy {clean(strategy)}; about {seconds(cost.get('seconds'))} in all,"
        f" longest pause about {seconds(cost.get('pause_seconds'))}{fetched}"
    )


def findings_view(findings: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Return findings, one a line: how bad, where, what, and what to do."""
    rows = [
        [
            Text(clean(finding.get("severity", "")), style=_SEVERITY.get(str(finding.get("severity")), "")),
            Text(clean(finding.get("subject") or finding.get("source") or "")),
            clean(f"{sentence(finding.get('message') or '')} {finding.get('hint') or ''}".strip()),
        ]
        for finding in findings
    ]
    return grid(["Finding", "About", "What"], rows)


def stopping_findings(plan: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the findings of a plan that stop it, as the program decides it; all of them where that cannot be told."""
    # Of the core only where a plan was refused: it takes time to import.
    from noodle_upgrade_core.model import Finding, Severity, ValidationLevel, stops  # noqa: PLC0415

    findings = _list(plan.get("findings"))
    critical = {
        str(component.get("name"))
        for component in (_mapping(step.get("component")) for step in _list(plan.get("steps")))
        if component.get("critical")
    }
    try:
        level = ValidationLevel(str(_list(plan.get("requests"))[0].get("validation_level")))
        stopping = [
            finding
            for finding in findings
            if stops(
                Finding(
                    severity=Severity(str(finding.get("severity"))),
                    code=str(finding.get("code") or ""),
                    message="",
                    subject=str(finding.get("subject") or ""),
                ),
                level,
                critical,
            )
        ]
    except (IndexError, ValueError):
        return findings
    return stopping or findings


def waits_for(state: Mapping[str, Any]) -> str:
    """Return what an upgrade waits for and what lets it go on, in words that follow its name."""
    return clean(f"waits for {state.get('awaits') or 'approval'}: noodle approve {state.get('upgrade_id', '')}")


def stands_still(state: Mapping[str, Any]) -> str:
    """Return why no more traffic of an upgrade moves, in words: a pause, or what a policy says; "" where it moves.

    A pause holds from the next increase of traffic on: until then it is only announced.
    """
    paused, held = (str(state.get(key) or "") for key in ("paused", "held"))
    if paused and held:
        return clean(paused if paused == held else f"{paused}; {held}")
    return clean(f"{paused}, from the next increase on" if paused else f"held: {held}" if held else "")


def progress_of(state: Mapping[str, Any]) -> str:
    """Return an upgrade's versions in words: `markdown-it-py 2.2.0 -> 3.0.0`."""
    plan = _mapping(state.get("plan"))
    words = []
    for step in _list(plan.get("steps")):
        name = _mapping(step.get("component")).get("name", "")
        words.append(f"{name} {step.get('from_version', '?')} -> {step.get('to_version', '?')}")
    if not words:
        components = state.get("components") or [state.get("component_name", "")]
        words = [", ".join(str(one) for one in components)]
    return clean("; ".join(words))


def outcome_line(state: Mapping[str, Any]) -> Text:
    """Return one line that says how an upgrade or rollback ended."""
    result = _mapping(state.get("result")) or state
    status = str(result.get("status", ""))
    title = progress_of(state)
    if result.get("component_name"):
        versions = f"{result.get('from_version', '?')} -> {result.get('to_version', '?')}"
        others = [str(name) for name in result.get("components") or () if name != result["component_name"]]
        with_others = f", with {', '.join(others)}" if others else ""
        title = clean(f"{result['component_name']} {versions}{with_others}")
    good = bool(result.get("success")) or (not state.get("result") and state.get("phase") == "done")
    took = span(result.get("started_at"), result.get("completed_at"))
    # A rollback that went well is a success that is not called done: its phase says the same.
    ended = "done" if good and status != "rolled_back" else clean(status.replace("_", " ") or "failed")
    return Text.assemble(
        (ended, _GOOD if good else _BAD),
        ": ",
        title,
        f" in {seconds(took)}" if took is not None else "",
    )


def result_view(state: Mapping[str, Any]) -> RenderableType:
    """Return how an upgrade or rollback ended: what was done, what it measured, how to go back, what went wrong."""
    result = _mapping(state.get("result"))
    point = _mapping(result.get("rollback_point"))
    error = _mapping(result.get("error") or state.get("error"))
    phase = result.get("phase") or state.get("phase")
    parts: list[RenderableType] = [
        outcome_line(state),
        fields(
            [
                ("upgrade", result.get("upgrade_id") or state.get("upgrade_id")),
                ("phase", phase),
                ("steps", "; ".join(_counted_in_a_row(result.get("operations") or ()))),
                ("rollback point", point.get("rollback_id") if phase in _REVERSIBLE else ""),
            ]
        ),
    ]
    if error:
        parts.append(error_view(error))
    return Group(*parts)


def _counted_in_a_row(words: Iterable[Any]) -> Iterator[str]:
    """Yield words as they are, and those that come several times in a row once, with how often."""
    for word, same in itertools.groupby(map(str, words)):
        count = sum(1 for _ in same)
        yield word if count == 1 else f"{word} ({count} times)"


def error_view(error: Mapping[str, Any]) -> RenderableType:
    """Return an error of the API: what, what is safe, what to do, and where code of the program failed."""
    trace = last_of_trace(_mapping(error.get("details")))
    return fields(
        [
            ("error", Text(sentence(error.get("message", "")), style=_BAD)),
            ("safe", sentence(error.get("safe") or "")),
            ("do", error.get("hint")),
            ("trace", Text("\n".join(trace)) if trace else ""),
        ]
    )


def arms_rows(measured: Mapping[str, Any]) -> list[list[str]]:
    """Return both versions' counts as rows: which, version, calls, errors, share of errors, p50, p99, in flight."""
    rows = []
    for label in ("old", "new"):
        arm = _mapping(measured.get(label))
        if not arm:
            continue
        calls, errors = arm.get("calls"), arm.get("errors")
        share = f"{errors / calls:.2%}" if isinstance(calls, int) and isinstance(errors, int) and calls else "-"
        rows.append(
            [
                label,
                clean(arm.get("version", "")),
                f"{calls:,}" if isinstance(calls, int) else "-",
                f"{errors:,}" if isinstance(errors, int) else "-",
                share,
                milliseconds(arm.get("p50_ms")),
                milliseconds(arm.get("p99_ms")),
                str(arm.get("in_flight", "-")),
            ]
        )
    return rows


def event_line(event: Mapping[str, Any]) -> str:
    """Return an event as one plain line: time, kind, upgrade, message."""
    at = when(event.get("at")).partition(" ")[2] if event.get("at") else ""
    kind = clean(event.get("kind", ""))
    message = clean(event.get("message") or _data_words(_mapping(event.get("data"))))
    upgrade_id = clean(event.get("upgrade_id", ""))
    return "  ".join(part for part in (at, kind, upgrade_id, message) if part)


def _data_words(data: Mapping[str, Any]) -> str:
    words = []
    for key, value in data.items():
        if isinstance(value, Mapping) and "calls" in value:
            words.append(f"{key}: {value.get('calls')} calls, {value.get('errors')} errors")
        elif not isinstance(value, Mapping | list) and value not in (None, "", False):
            words.append(f"{key}={value}")
    return " ".join(words)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Mapping[str, Any]]:
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, list | tuple) else []
