"""Pictures of a simulation, drawn by matplotlib where that is installed."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from noodle_upgrade_core.errors import InvalidRequestError, UpgradeError
from noodle_upgrade_deployment.simulation.report import Report, Version
from noodle_upgrade_deployment.simulation.rollouts import Course

__all__ = ["PlotsMissingError", "check_plot", "plot"]

# Okabe and Ito's colours, which everybody can tell apart; line styles tell them apart in grey.
_GOOD, _BAD, _BOUND = "#0072B2", "#D55E00", "#000000"
_METRIC_STYLES = ("-", "--", ":", "-.")
_FORMATS = (".png", ".svg")
_DOTS_AN_INCH = 120


class PlotsMissingError(UpgradeError):
    """What draws is not installed."""

    code = "plugin.plots"
    default_safe = ""


def check_plot(path: Path) -> None:
    """Raise where `plot` could not draw into this file: before a long simulation, and not after it.

    `InvalidRequestError` for a name that ends neither in .png nor in .svg, or whose folder is not there, and
    `PlotsMissingError` without matplotlib.
    """
    if path.suffix.lower() not in _FORMATS:
        raise InvalidRequestError(
            f"A plot is a PNG or an SVG, and {path.name!r} is none.",
            hint=f"Let its name end in {' or '.join(_FORMATS)}.",
        )
    if not path.absolute().parent.is_dir():
        raise InvalidRequestError(f"There is no folder {str(path.absolute().parent)!r}.", hint="Make it first.")
    _matplotlib()


def plot(report: Report, path: Path) -> None:
    """Draw into one file: shares over time, times to detect, evidence against its bounds.

    Raises as `check_plot` does, and `InvalidRequestError` where the file cannot be written.
    """
    check_plot(path)
    # A fixed salt and no date: the same simulation gives the same file. Text stays text.
    with _matplotlib().rc_context({"svg.hashsalt": "noodle", "svg.fonttype": "none", "font.size": 9}):
        figure = _matplotlib("figure").Figure(figsize=(8.0, 10.0), layout="constrained")
        _matplotlib("backends.backend_agg").FigureCanvasAgg(figure)
        above, middle, below = figure.subplots(3, 1)
        _shares(above, report)
        _found(middle, report)
        _evidence(below, report)
        figure.suptitle(_title(report))
        try:
            figure.savefig(path, dpi=_DOTS_AN_INCH, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
        except OSError as error:
            raise InvalidRequestError(
                f"{str(path)!r} cannot be written: {error.strerror or error}.", hint="Choose another file."
            ) from error


def _matplotlib(module: str = "") -> Any:
    try:
        return importlib.import_module(f"matplotlib.{module}" if module else "matplotlib")
    except ImportError as error:
        raise PlotsMissingError(
            "Plots are drawn by matplotlib, which cannot be imported.",
            hint="pip install 'noodle-upgrade-deployment[plots]'",
        ) from error


def _versions(report: Report) -> Iterator[tuple[str, str, Version]]:
    for name, colour, version in (("good", _GOOD, report.good), ("bad", _BAD, report.bad)):
        if version is not None:
            yield name, colour, version


def _title(report: Report) -> str:
    words = [f"{key} {value}" for key, value in report.subject.items() if key in {"strategy", "judge", "calls"}]
    return ", ".join([*words, f"{report.runs:,} rollouts each, seed {report.seed}"])


def _shares(axes: Any, report: Report) -> None:
    """Some courses: the share of the new version as steps, and a cross where it was taken back."""
    for name, colour, version in _versions(report):
        style = "-" if name == "good" else "--"
        for number, course in enumerate(version.courses):
            times = [at / 60.0 for at, _ in course.shares]
            shares = [100.0 * share for _, share in course.shares]
            label = f"{name} version" if number == 0 else None
            axes.step(
                [*times, course.at / 60.0 if course.promoted else course.back_at / 60.0],
                [*shares, shares[-1]] if shares else [],
                where="post",
                color=colour,
                linestyle=style,
                alpha=0.7,
                label=label,
            )
            if not course.promoted:
                axes.plot([course.at / 60.0], [100.0 * course.share], "x", color=colour)
    axes.set(
        title="Share of the new version in some rollouts (x: decided to go back)",
        xlabel="time (min)",
        ylabel="share of calls (%)",
        ylim=(-3, 103),
    )
    _legend(axes)


def _found(axes: Any, report: Report) -> None:
    """The part of all rollouts that was taken back by a time: its end is the rate, its middle the median."""
    for name, colour, version in _versions(report):
        times = [at / 60.0 for at in version.found_at]
        parts = [100.0 * (number + 1) / report.runs for number in range(len(times))]
        last = max((course.at for course in version.courses), default=0.0) / 60.0
        axes.step(
            [0.0, *times, max([last, *times])],
            [0.0, *parts, parts[-1] if parts else 0.0],
            where="post",
            color=colour,
            linestyle="-" if name == "good" else "--",
            label=f"{name} version: {100.0 * len(times) / report.runs:.2f} % in the end",
        )
    axes.set(
        title="Rollouts that were taken back as harmful",
        xlabel="time to detect (min)",
        ylabel="part of all rollouts (%)",
        ylim=(-3, 103),
    )
    _legend(axes)


def _evidence(axes: Any, report: Report) -> None:
    """How far the judge was on its way to harm in the first course of each version, as far as it says so."""
    drawn = False
    for name, colour, version in _versions(report):
        for style, (metric, points) in zip(_METRIC_STYLES, _ways(version.courses[:1]).items(), strict=False):
            times, parts = zip(*points, strict=True)
            axes.plot(times, parts, color=colour, linestyle=style, label=f"{name} version: {metric}")
            drawn = True
    if drawn:
        axes.axhline(1.0, color=_BOUND, linewidth=1.0)
        axes.annotate("harm", (0.01, 1.0), xycoords=("axes fraction", "data"), va="bottom")
    else:
        axes.annotate(
            "This judge does not say how far it is to harm.", (0.5, 0.5), xycoords="axes fraction", ha="center"
        )
    axes.set(title="Evidence in one rollout", xlabel="time (min)", ylabel="evidence (1 = harm)")
    _legend(axes)


def _ways(courses: Sequence[Course]) -> Mapping[str, list[tuple[float, float]]]:
    """Return for each metric how far it was to harm, in the words of `Comparison.evidence`, over minutes."""
    ways: dict[str, list[tuple[float, float]]] = {}
    for course in courses:
        for at, numbers in course.evidence:
            for metric, one in numbers.items():
                way = one.get("harm") if isinstance(one, Mapping) else None
                if isinstance(way, int | float):
                    ways.setdefault(metric, []).append((at / 60.0, float(way)))
    return ways


def _legend(axes: Any) -> None:
    axes.grid(visible=True, alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="best", fontsize=8)
