import sys

import pytest

from noodle_upgrade_core.drivers import Drivers
from noodle_upgrade_core.errors import DriverUnknownError, InvalidRequestError, PluginBrokenError
from noodle_upgrade_deployment.judging.betting import Betting
from noodle_upgrade_deployment.judging.metrics import metrics_of
from noodle_upgrade_deployment.metrics import metrics_from
from noodle_upgrade_deployment.metrics.callables import Function
from noodle_upgrade_deployment.metrics.prometheus import Prometheus

QUERY = 'histogram_quantile(0.99, rate(seconds_bucket{version="{version}"}[5m]))'
SHOP = """
def queue_depth(version):
    return 3.0
async def conversion(version):
    return 0.1
def of_nothing():
    return 1.0
class Queues:
    @staticmethod
    def longest(version):
        return 9.0
number = 7
"""


class Conversion:
    """What a plugin brings."""

    def __init__(self, shop: str = "all") -> None:
        self.shop = shop

    def read(self, version):
        return 0.1


@pytest.fixture
def shop(tmp_path, monkeypatch):
    (tmp_path / "acme_shop_metrics.py").write_text(SHOP)
    (tmp_path / "acme_shop_broken.py").write_text("raise SystemExit('no')")
    monkeypatch.syspath_prepend(tmp_path)
    yield "acme_shop_metrics"
    sys.modules.pop("acme_shop_metrics", None)


def one(entry, drivers=None):
    return metrics_from({"depth": entry}, drivers)[0]


def test_a_table_gives_metrics_of_all_three_kinds(shop):
    drivers = Drivers(extra={"metrics": {"acme-shop": Conversion}})
    depth, p99, conversion = metrics_from(
        {
            "queue_depth": {"callable": f"{shop}:queue_depth", "worse": "higher", "margin": 1.2, "every": 10},
            "p99": {"prometheus": QUERY, "url": "http://prometheus.internal:9090", "worse": "higher"},
            "conversion": {"metric": "acme-shop", "worse": "lower", "options": {"shop": "north"}},
        },
        drivers,
    )
    assert (depth.name, depth.worse, depth.margin, depth.every, depth.source.read("2")) == (
        "queue_depth",
        "higher",
        1.2,
        10,
        3.0,
    )
    assert isinstance(p99.source, Prometheus)
    assert (conversion.worse, conversion.source.shop) == ("lower", "north")


def test_a_name_with_dots_after_the_colon_and_an_asynchronous_function_are_functions_too(shop):
    assert one({"callable": f"{shop}:Queues.longest"}).source.read("2") == 9.0
    assert isinstance(one({"callable": f"{shop}:conversion"}).source, Function)


def test_a_query_is_read_no_more_often_than_it_looks_back():
    url = "http://host:9090"
    assert one({"prometheus": QUERY, "url": url}).every == 300.0
    assert one({"prometheus": 'up{v="{version}"}', "url": url}).every == 60.0
    assert one({"prometheus": QUERY, "url": url, "every": 600}).every == 600
    with pytest.raises(InvalidRequestError, match="looks 300 s back, and every 10 s is more often") as refused:
        one({"prometheus": QUERY, "url": url, "every": 10})
    assert "every 300 s" in refused.value.hint


@pytest.mark.parametrize(
    ("entry", "message", "hint"),
    [
        ({}, "does not say where it comes from", "callable, prometheus, metric"),
        ({"calable": "m:f"}, "does not say where it comes from", "'callable'"),
        ({"callable": "m:f", "metric": "x"}, "says twice", "callable"),
        ("m:f", "must be a table", "callable"),
        ({"callable": "m:f", "wrose": "higher"}, "no setting 'wrose'", "'worse'"),
        ({"callable": "m:f", "url": "http://x"}, "no setting 'url'", "It takes: callable"),
        ({"callable": "acme_shop_metrics"}, "module:function", ""),
        ({"callable": ":f"}, "module:function", ""),
        ({"callable": 7}, "module:function", ""),
        ({"callable": "acme_no_such_module:f"}, "cannot be imported", "importable"),
        ({"callable": "acme_shop_broken:f"}, "cannot be imported: SystemExit: no", "importable"),
        ({"callable": "acme_shop_metrics:missing"}, "there is no 'missing'", "spelling"),
        ({"callable": "acme_shop_metrics:number"}, "nobody can call 'number'", "spelling"),
        ({"callable": "acme_shop_metrics:of_nothing"}, "cannot be called with a version", "one argument"),
        ({"callable": "acme_shop_metrics:queue_depth", "worse": "hihger"}, "worse must be one of", "'higher'"),
        ({"callable": "acme_shop_metrics:queue_depth", "worse": 3}, "worse must be one of", "higher, lower"),
        ({"callable": "acme_shop_metrics:queue_depth", "margin": 1.0}, "margin must be", ""),
        ({"callable": "acme_shop_metrics:queue_depth", "every": 0}, "every must be", ""),
        ({"callable": "acme_shop_metrics:queue_depth", "every": "10"}, "every must be", ""),
        ({"callable": "acme_shop_metrics:queue_depth", "timeout": float("nan")}, "timeout must be", ""),
        ({"prometheus": QUERY}, "which server", "url"),
        ({"prometheus": "up", "url": "http://h"}, "must have {version}", "version"),
        ({"prometheus": 5, "url": "http://h"}, "must have {version}", "version"),
        ({"prometheus": QUERY, "url": "prometheus:9090"}, "http://", "http://"),
        ({"metric": "acme-shop", "options": []}, "must be a table", ""),
        ({"metric": "acme-shop", "options": {"shp": 1}}, "no parameter 'shp'", "'shop'"),
    ],
)
def test_an_entry_that_cannot_be_meant_is_refused_with_the_metrics_name(shop, entry, message, hint):
    drivers = Drivers(extra={"metrics": {"acme-shop": Conversion}})
    with pytest.raises(InvalidRequestError, match="the metric 'depth'") as refused:
        one(entry, drivers)
    assert message in refused.value.message
    assert hint in refused.value.hint


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, 5])
def test_a_metric_needs_a_name(name):
    with pytest.raises(InvalidRequestError, match="name must be a text"):
        metrics_from({name: {"callable": print}})


def test_a_metric_of_a_plugin_that_is_not_installed_says_what_is():
    drivers = Drivers(extra={"metrics": {"acme-shop": Conversion}})
    with pytest.raises(DriverUnknownError, match="the metric 'depth': no metric 'acme-shp'") as refused:
        one({"metric": "acme-shp"}, drivers)
    assert "'acme-shop'" in refused.value.hint


def test_a_metric_of_a_plugin_that_cannot_be_read_is_broken():
    with pytest.raises(PluginBrokenError, match="no method 'read'"):
        one({"metric": "acme-shop"}, Drivers(extra={"metrics": {"acme-shop": object}}))


def test_a_table_comes_beside_the_counts_which_can_be_left_out(shop):
    entry = {"callable": f"{shop}:queue_depth"}
    names = [[metric.name for metric in metrics_of(table)] for table in ({"d": entry}, {"d": entry, "latency": False})]
    assert names == [["errors", "latency", "d"], ["errors", "d"]]
    with pytest.raises(InvalidRequestError, match="there is no metric 'latncy'"):
        metrics_of({"d": entry, "latncy": False})
    with pytest.raises(InvalidRequestError, match="none twice"):
        metrics_of({"errors": entry})
    with pytest.raises(InvalidRequestError, match="at least one"):
        metrics_of({"errors": False, "latency": False})
    with pytest.raises(InvalidRequestError, match="names or a table"):
        metrics_of(5)


def test_the_judge_takes_the_table_as_its_parameter(shop):
    judge = Drivers().make("judges", "betting", metrics={"depth": {"callable": f"{shop}:queue_depth"}})
    assert isinstance(judge, Betting)
    assert [metric.name for metric in judge.metrics] == ["errors", "latency", "depth"]
    with pytest.raises(InvalidRequestError, match="the metric 'depth'"):
        Drivers().make("judges", "betting", metrics={"depth": {"callable": "nothing"}})
