"""The rows of the table: their names, units and targets, and which module measures them."""

from __future__ import annotations

from attrs import frozen

__all__ = ["GROUPS", "ROWS", "Group", "Row"]


@frozen(kw_only=True)
class Row:
    """One row: the target is for the ratio or for the value, and is the most that it may be, or the least."""

    name: str
    unit: str
    target: float
    of: str = "ratio"
    least: bool = False

    def met(self, value: float | None, ratio: float | None) -> bool | None:
        """Whether the target is reached; None where it was not measured."""
        got = ratio if self.of == "ratio" else value
        if got is None:
            return None
        return got >= self.target if self.least else got <= self.target


@frozen(kw_only=True)
class Group:
    """Rows that one function measures together: `module:function`, in `processes` fresh processes one after another.

    `swap` rows are measured on every Python that is named; the others on the one that runs.
    """

    measure: str
    rows: tuple[Row, ...]
    processes: int = 1
    swap: bool = False


GROUPS: tuple[Group, ...] = (
    Group(
        measure="steady:patch",
        rows=(Row(name="steady_patch", unit="ns", target=1.02),),
        processes=5,
        swap=True,
    ),
    Group(
        measure="steady:handles",
        rows=(Row(name="steady_handle", unit="ns", target=1.30),),
        processes=5,
        swap=True,
    ),
    Group(
        measure="commit:measure",
        rows=(
            Row(name="commit_500", unit="us", target=100.0, of="value"),
            Row(name="commit_500_torn", unit="reads", target=0.0, of="value"),
        ),
        swap=True,
    ),
    Group(
        measure="flips:measure",
        rows=(
            Row(name="flips_failed", unit="calls", target=0.0, of="value"),
            Row(name="flips_torn", unit="calls", target=0.0, of="value"),
        ),
        swap=True,
    ),
    Group(
        measure="engine:measure",
        rows=(
            Row(name="upgrade_vs_jurigged", unit="ms", target=0.1),
            Row(name="upgrade_vs_reload", unit="ms", target=5.0),
        ),
        swap=True,
    ),
    Group(
        measure="restart:measure",
        rows=(
            Row(name="first_answer_vs_hup", unit="ms", target=0.1),
            Row(name="whole_vs_hup", unit="ms", target=1.5),
        ),
    ),
    Group(
        measure="fields:measure",
        rows=(
            Row(name="fields_commit", unit="ms", target=1.0, of="value"),
            Row(name="fields_read_after", unit="ns", target=1.05),
        ),
        swap=True,
    ),
    Group(
        measure="rollback:measure",
        rows=(Row(name="rollback_vs_commit", unit="us", target=1.0),),
        swap=True,
    ),
    Group(
        measure="shares:effect",
        rows=(Row(name="share_effect", unit="ms", target=1.0, of="value"),),
        processes=3,
        swap=True,
    ),
    Group(
        measure="shares:cost",
        rows=(Row(name="routing_cost", unit="ns", target=1000.0, of="value"),),
        processes=5,
        swap=True,
    ),
    Group(
        measure="shares:changes",
        rows=(
            Row(name="shares_lost", unit="calls", target=0.0, of="value"),
            Row(name="shares_torn", unit="calls", target=0.0, of="value"),
            Row(name="shares_moved_back", unit="calls", target=0.0, of="value"),
        ),
        swap=True,
    ),
    Group(
        measure="crashing:measure",
        rows=(
            Row(name="crash_back", unit="s", target=2.0, of="value"),
            Row(name="crash_back_calls", unit="calls", target=5.0, of="value"),
        ),
    ),
    Group(
        measure="many:measure",
        rows=(
            Row(name="many_upgrades_call", unit="ns", target=1.05),
            Row(name="many_upgrades_bytes", unit="B", target=1024.0, of="value"),
        ),
        swap=True,
    ),
    Group(
        measure="journal:measure",
        rows=(Row(name="journal_vs_sqlite", unit="upgrades/s", target=0.8, least=True),),
    ),
    Group(measure="plan:measure", rows=(Row(name="plan_10k", unit="s", target=0.5, of="value"),)),
    Group(measure="startup:help_cpu", rows=(Row(name="help_cpu", unit="ms", target=150.0, of="value"),)),
    Group(measure="startup:with_500", rows=(Row(name="startup_500", unit="ms", target=1.5),)),
    Group(
        measure="judging:false_alarms",
        rows=(
            Row(name="false_plain", unit="%", target=1.0, of="value"),
            Row(name="false_clumped", unit="%", target=1.0, of="value"),
            Row(name="false_incident", unit="%", target=1.0, of="value"),
        ),
    ),
    Group(
        measure="judging:detection",
        rows=(
            Row(name="detect_10x", unit="s", target=30.0, of="value"),
            Row(name="detect_4x", unit="s", target=210.0, of="value"),
            Row(name="detect_2x", unit="s", target=720.0, of="value"),
            Row(name="harm_vs_kayenta", unit="calls", target=0.1),
        ),
    ),
    Group(
        measure="judging:promotion",
        rows=(Row(name="promote_good", unit="s", target=300.0, of="value"),),
    ),
    Group(
        measure="judging:updates",
        rows=(Row(name="judge_update", unit="us", target=5.0, of="value"),),
    ),
    Group(
        measure="simulating:million",
        rows=(Row(name="simulate_million", unit="s", target=10.0, of="value"),),
    ),
    Group(
        measure="compiling:speed",
        rows=(
            Row(name="compile_vs_cpython", unit="ms", target=2.5),
            Row(name="compile_vs_lark", unit="ms", target=0.2),
            Row(name="compile_exponent", unit="", target=1.05, of="value"),
        ),
    ),
    Group(
        measure="compiling:many",
        rows=(
            Row(name="noop_stat", unit="ms", target=100.0, of="value"),
            Row(name="noop_content", unit="ms", target=250.0, of="value"),
            Row(name="cutoff_runs", unit="runs", target=0.0, of="value"),
            Row(name="affected_share", unit="ms", target=0.02),
        ),
    ),
    Group(measure="compiling:running", rows=(Row(name="run_vs_python", unit="ms", target=1.05),)),
    Group(
        measure="compiling:live",
        rows=(
            Row(name="live_failed", unit="compilations", target=0.0, of="value"),
            Row(name="live_mixed", unit="compilations", target=0.0, of="value"),
        ),
    ),
    Group(
        measure="compiling:fuzz",
        rows=(Row(name="nbc_fuzz_unhandled", unit="inputs", target=0.0, of="value"),),
    ),
    Group(
        measure="simulating:whole_rollouts",
        rows=(Row(name="false_rollout", unit="%", target=1.0, of="value"),),
    ),
)

ROWS: dict[str, Row] = {row.name: row for group in GROUPS for row in group.rows}
