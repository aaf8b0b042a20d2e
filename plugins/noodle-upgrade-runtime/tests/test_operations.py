import gc
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noodle_upgrade_runtime.operations import Operation, Script


class Box:
    pass


def setting(box, name, value):
    if name in box.__dict__:
        return Operation((setattr, box, name, value), (setattr, box, name, box.__dict__[name]))
    return Operation((setattr, box, name, value), (delattr, box, name))


@given(
    st.dictionaries(st.sampled_from("abcde"), st.integers()), st.dictionaries(st.sampled_from("abcde"), st.integers())
)
def test_a_script_and_its_undo_leave_no_difference(before, after):
    box = Box()
    box.__dict__.update(before)
    script = Script([setting(box, name, value) for name, value in after.items()])
    script.trial()
    assert box.__dict__ == before
    script.apply()
    script.apply()
    assert box.__dict__ == {**before, **after}
    script.revert()
    script.revert()
    assert box.__dict__ == before


@given(st.integers(0, 6))
def test_an_operation_that_fails_takes_those_before_it_back(position):
    box = Box()
    operations = [setting(box, name, 1) for name in "abcdef"]
    operations.insert(position, Operation((setattr, 3, "x", 1), (delattr, 3, "x")))
    script = Script(operations)
    for go in (script.trial, script.apply):
        with pytest.raises(AttributeError):
            go()
        assert box.__dict__ == {}
    assert not script.applied


def test_an_inverse_that_fails_does_not_keep_the_others_from_being_made():
    box = Box()
    operations = [setting(box, name, 1) for name in "abc"]
    operations[1] = Operation((setattr, box, "b", 1), (delattr, box, "never there"))
    script = Script(operations)
    script.apply()
    with pytest.raises(AttributeError):
        script.revert()
    assert box.__dict__ == {"b": 1}


def test_no_reader_ever_sees_half_of_a_change():
    boxes = [Box() for _ in range(200)]
    for box in boxes:
        box.value = 0
    torn, stop, reads = [], threading.Event(), [0]
    first, last = boxes[0], boxes[-1]

    def read():
        while not stop.is_set():
            # The last is written last and read first: a mixture would show as old then new.
            seen_last, seen_first = last.value, first.value
            if seen_last > seen_first:
                torn.append((seen_last, seen_first))
            reads[0] += 1

    thread = threading.Thread(target=read)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread.start()
    try:
        for value in range(1, 300):
            Script([setting(box, "value", value) for box in boxes]).apply()
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(interval)
    assert reads[0] > 0
    assert not torn


def test_the_collector_is_as_it_was_afterwards():
    box = Box()
    gc.disable()
    try:
        Script([setting(box, "a", 1)]).apply()
        assert not gc.isenabled()
    finally:
        gc.enable()
    Script([setting(box, "b", 1)]).apply()
    assert gc.isenabled()
