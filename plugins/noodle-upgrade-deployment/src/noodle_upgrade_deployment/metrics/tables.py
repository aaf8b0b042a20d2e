"""Metrics as people write them down: a table in a request's parameters or a policy, an entry for each metric.

{"queue_depth": {"callable": "shop.metrics:queue_depth", "worse": "higher", "margin": 1.2, "every": 10},
 "p99": {"prometheus": "histogram_quantile(0.99, …{version='{version}'}…)", "url": "http://prometheus:9090"},
 "conversion": {"metric": "acme-shop", "worse": "lower"}}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from noodle_upgrade_core.drivers import Drivers
from noodle_upgrade_core.errors import InvalidRequestError, PluginBrokenError, UpgradeError
from noodle_upgrade_core.settings import suggestion
from noodle_upgrade_deployment.metrics.callables import Function, function_of
from noodle_upgrade_deployment.metrics.metric import Metric, Source
from noodle_upgrade_deployment.metrics.prometheus import Prometheus, range_seconds

__all__ = ["metrics_from"]

_LONGEST_NAME = 100
_EVERY, _EVERY_QUERY = 10.0, 60.0
_OF_ALL = ("worse", "margin", "allowed", "every", "timeout")

_Entry = dict[str, Any]


def metrics_from(table: Mapping[str, Any], drivers: Drivers | None = None) -> tuple[Metric, ...]:
    """Return the metrics of a table; functions and plugins that it names are imported.

    Raises `InvalidRequestError` for an entry that cannot be meant, `DriverUnknownError` for a plugin's metric that is
    not installed, and `PluginBrokenError` for one that is broken. Each names the metric.
    """
    return tuple(_metric(name, entry, drivers or Drivers()) for name, entry in table.items())


def _metric(name: Any, entry: Any, drivers: Drivers) -> Metric:
    if not isinstance(name, str) or not name.strip() or len(name) > _LONGEST_NAME:
        raise InvalidRequestError(f"a metric's name must be a text of up to {_LONGEST_NAME} characters, got {name!r}.")
    if not isinstance(entry, Mapping):
        raise InvalidRequestError(
            f"the metric {name!r} must be a table, got {entry!r}.",
            hint=f"Say where it comes from, by one of: {', '.join(_SOURCES)}.",
        )
    try:
        kind = _kind(entry)
        make, own = _SOURCES[kind]
        _check_keys(entry, (kind, *own, *_OF_ALL))
        every = entry.get("every", _usual_every(entry))
        _check_every(entry, every)
        return Metric(
            name=name,
            source=make(dict(entry), drivers),
            **{"every": every} | {key: entry[key] for key in _OF_ALL if key in entry},
        )
    except UpgradeError as error:
        error.message = f"the metric {name!r}: {error.message}"
        error.args = (error.message,)
        raise


def _kind(entry: Mapping[str, Any]) -> str:
    kinds = [kind for kind in _SOURCES if kind in entry]
    if len(kinds) == 1:
        return kinds[0]
    near = next(filter(None, (suggestion(key, _SOURCES) for key in entry if key not in _OF_ALL)), "")
    problem = "says twice where it comes from" if kinds else "does not say where it comes from"
    raise InvalidRequestError(f"it {problem}.", hint=near or f"Give it one of: {', '.join(_SOURCES)}.")


def _check_keys(entry: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in entry:
        if key not in known:
            hint = suggestion(key, known) or f"It takes: {', '.join(known)}."
            raise InvalidRequestError(f"it has no setting {key!r}.", hint=hint)


def _usual_every(entry: Mapping[str, Any]) -> float:
    query = entry.get("prometheus")
    return max(_EVERY_QUERY, range_seconds(query)) if isinstance(query, str) else _EVERY


def _check_every(entry: Mapping[str, Any], every: Any) -> None:
    """Refuse readings that share their data: each would prove again what the one before it has proved."""
    query = entry.get("prometheus")
    back = range_seconds(query) if isinstance(query, str) else 0.0
    if isinstance(every, int | float) and every < back:
        raise InvalidRequestError(
            f"its query looks {back:g} s back, and every {every:g} s is more often: the same calls would count again"
            " and again.",
            hint=f"Read it every {back:g} s, or let the query look back {every:g} s.",
        )


def _function(entry: _Entry, _: Drivers) -> Source:
    given = entry["callable"]
    return Function(given if callable(given) else function_of(given))


def _prometheus(entry: _Entry, _: Drivers) -> Source:
    if "url" not in entry:
        raise InvalidRequestError("it does not say which server to ask.", hint="Give it a url: http://host:9090")
    own = {key: entry[key] for key in ("url", "timeout", "token_file") if key in entry}
    return Prometheus(query=entry["prometheus"], **own)


def _driver(entry: _Entry, drivers: Drivers) -> Source:
    options = entry.get("options", {})
    if not isinstance(options, Mapping) or not all(isinstance(key, str) for key in options):
        raise InvalidRequestError(f"its options must be a table, got {options!r}.")
    made = drivers.make("metrics", entry["metric"], **options)
    if not callable(getattr(made, "read", None)):
        raise PluginBrokenError(
            f"the driver {entry['metric']!r} makes {type(made).__name__}, which has no method 'read'.",
            hint="Compare it with the reference of what it implements.",
        )
    return made  # type: ignore[no-any-return]


_SOURCES: Final[Mapping[str, tuple[Callable[[_Entry, Drivers], Source], tuple[str, ...]]]] = {
    "callable": (_function, ()),
    "prometheus": (_prometheus, ("url", "token_file")),
    "metric": (_driver, ("options",)),
}
"""What an entry names its source by, and what it may say besides."""
