"""Metrics from elsewhere: what is read, where from, how it is written down, and who reads it while a rollout runs."""

from noodle_upgrade_deployment.metrics.feeds import Feed, Handed
from noodle_upgrade_deployment.metrics.metric import Metric, MetricUnreadableError, Pair, Source, Supplied, Supply
from noodle_upgrade_deployment.metrics.tables import metrics_from

__all__ = [
    "Feed",
    "Handed",
    "Metric",
    "MetricUnreadableError",
    "Pair",
    "Source",
    "Supplied",
    "Supply",
    "metrics_from",
]
