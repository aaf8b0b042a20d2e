"""What the conformance kit gives an author for five lines."""

import pytest
from acme_upgrades import Careful

from noodle_upgrade_core.testing import check_strategy, conformance_checks_of_strategy


def test_careful_keeps_the_rules_of_a_strategy():
    check_strategy(Careful, {"bake": 1.0})


@pytest.mark.parametrize("check", conformance_checks_of_strategy(Careful), ids=str)
def test_each_rule_by_name(check):
    check()
