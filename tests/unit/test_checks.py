import math
import re

import pytest
from attrs import field, frozen
from hypothesis import given
from hypothesis import strategies as st

from noodle_upgrade_core import checks
from noodle_upgrade_core.errors import InvalidRequestError


@frozen(kw_only=True)
class Careful:
    bake: float = field(default=1.0, validator=checks.seconds)
    calls: int = field(default=1, validator=checks.count)
    failures: int = field(default=0, validator=checks.count_or_none)
    weight: float = field(default=0.5, validator=checks.between(0.0, 1.0))
    alpha: float = field(default=0.5, validator=checks.between(0.0, 1.0, inclusive=False))


@pytest.mark.parametrize("value", [True, "5", None, math.nan, math.inf, -math.inf, -1e-9, [1.0]])
@pytest.mark.parametrize("name", ["bake", "calls", "failures", "weight", "alpha"])
def test_what_is_no_number_in_its_range_is_refused_by_the_parameters_name(name, value):
    with pytest.raises(InvalidRequestError, match=f"^{name} must be .*, got {re.escape(repr(value))}"):
        Careful(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"), [("calls", 0), ("calls", 1.5), ("failures", 0.5), ("weight", 1.01), ("alpha", 0.0), ("alpha", 1)]
)
def test_what_lies_just_outside_is_refused(name, value):
    with pytest.raises(InvalidRequestError, match=f"^{name} must be"):
        Careful(**{name: value})


@given(st.floats(0.0, 1.0), st.floats(0.0, 1e12), st.integers(1), st.integers(0))
def test_what_is_in_its_range_is_taken_as_it_is(weight, bake, calls, failures):
    made = Careful(weight=weight, bake=bake, calls=calls, failures=failures)
    assert (made.weight, made.bake, made.calls, made.failures) == (weight, bake, calls, failures)
