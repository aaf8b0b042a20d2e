"""Copies of calls are run on a new version that serves nobody: callers see nothing of it, and it leaves nothing."""

import asyncio
import contextvars
import gc
import math
import sys
import textwrap
import threading
import time
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noodle_upgrade_core.errors import DrainTimeoutError, InvalidRequestError, MigrationError, StageError
from noodle_upgrade_core.staged import COUNTS, MEMBERS, SHADOW, WEIGHTS, bucket_of
from noodle_upgrade_runtime.handles import Handles, handle
from noodle_upgrade_runtime.outcomes import Answered, Raised, difference
from noodle_upgrade_runtime.shadow import MOST_WAITING

OLD = """
import asyncio
log = []
class Service:
    def __init__(self): self.calls = 0; self.kept = {"a": [1]}
    def render(self, text, options=None):
        self.calls += 1
        return {"text": text.upper(), "options": sorted(options or [])}
    async def later(self, text):
        await asyncio.sleep(0)
        return text.upper()
    def items(self, n): yield from range(n)
    async def stream(self, n):
        for i in range(n): yield i
    def table(self): return self.kept
    def fails(self, kind): raise (ValueError if kind == "value" else KeyError)(kind)
    def call(self, function): return function()
    def nan(self): return float("nan")
    def point(self): return Point()
class Point: pass
"""


def served(fable, new="", *, old=OLD, source=None, **kwargs):
    """Run 1.0 behind a handle and stage 2.0, which is 1.0 with `new` behind it."""
    fable.run("1.0")
    fable.write("1.0", old)
    fable.write("2.0", (old + "\n" + new) if source is None else source)
    service, swap = fable.handle(**{"shadow": True, **kwargs}), fable.stage("1.0", "2.0")
    SWAPS.append(swap)
    return service, swap


def settled(swap, count, within=10.0):
    """Wait until so many copies have come to an end, and return the measurement."""
    until = time.monotonic() + within
    while (seen := swap.measure()).shadow.ran + seen.shadow.skipped < count and time.monotonic() < until:
        time.sleep(0.005)
    return seen


def shadows():
    """Return the threads of shadows that this test has begun and not ended."""
    return [one for one in threading.enumerate() if one.name.startswith("noodle shadow of") and one not in LEFT]


SWAPS, LEFT = [], set()


@pytest.fixture(autouse=True)
def ended():
    LEFT.update(threading.enumerate())  # some that hung in a test before
    yield
    while SWAPS:
        SWAPS.pop().release()


# --- who may be shadowed -------------------------------------------------------------------------------------------


def test_a_handle_that_does_not_say_so_is_not_shadowed(fable):
    _, swap = served(fable, shadow=())
    assert SHADOW not in swap.capabilities
    assert SHADOW not in fable.engine.assess(fable.change("1.0", "2.0")).capabilities
    with pytest.raises(InvalidRequestError, match="shadow"):
        swap.shadow(0.5)


def test_a_plan_says_which_calls_may_be_copied(fable):
    _, swap = served(fable, shadow=("render",))
    verdict = fable.engine.assess(fable.change("1.0", "2.0"))
    assert verdict.capabilities == swap.capabilities == {COUNTS, WEIGHTS, SHADOW}
    assert "copies of calls of render can be run on the new version before it serves" in verdict.reasons


@pytest.mark.parametrize(
    ("given", "says", "hint"),
    [
        ("render", "got 'render'", "Did you mean shadow=('render',)?"),
        (7, "got 7", '("render",)'),
        ((7,), "got (7,)", '("render",)'),
        (("rendr",), "no method 'rendr'", "Did you mean 'render'?"),
    ],
)
def test_a_wrong_word_about_shadows_is_refused_with_what_was_meant(fable, given, says, hint):
    fable.run("1.0")
    fable.write("1.0", OLD)
    with pytest.raises(InvalidRequestError) as caught:
        fable.handle(shadow=given)
    assert says in str(caught.value)
    assert hint in caught.value.hint


def test_a_comparison_that_cannot_be_called_is_refused():
    with pytest.raises(InvalidRequestError, match="cannot be called"):
        handle("json", "json:loads", shadow=True, compare=3, handles=Handles())


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), "half", None])
def test_a_share_that_is_none_is_refused_and_nothing_has_changed(fable, share):
    service, swap = served(fable)
    before = dict(vars(service))
    with pytest.raises(InvalidRequestError, match="share"):
        swap.shadow(share)
    assert vars(service) == before
    assert shadows() == []


# --- what is copied ------------------------------------------------------------------------------------------------


def test_copies_of_a_share_of_the_calls_run_on_the_new_version_and_both_are_counted(fable):
    service, swap = served(fable)
    swap.shadow(0.5)
    for _ in range(100):
        assert service.render("hi", {"b", "a"}) == {"text": "HI", "options": ["a", "b"]}
    seen = settled(swap, 50)
    assert (seen.shadow.share, seen.shadow.ran, seen.shadow.different, seen.shadow.skipped) == (0.5, 50, 0, 0)
    assert (seen.old.version, seen.old.calls, seen.new.version, seen.new.calls) == ("1.0", 100, "2.0", 50)
    assert seen.weight == pytest.approx(1 / 3)
    assert sum(seen.new.latency) == 50
    assert swap.running() == {"fable": "1.0"}


def test_calls_that_may_not_be_copied_are_not_and_are_not_counted(fable):
    service, swap = served(fable, shadow=("render",))
    swap.shadow(1.0)
    service.render("a")
    service.table()
    seen = settled(swap, 1)
    assert (seen.old.calls, seen.new.calls) == (1, 1)
    assert service.table.__func__.__qualname__ == "Service.table"


def test_a_function_behind_a_handle_can_be_shadowed(fable):
    fable.run("1.0")
    for version, more in (("1.0", ""), ("2.0", " + '!'")):
        fable.write(version, f"def greet(name): return 'hi ' + name{more}\n")
    greet = fable.handle("fable:greet", shadow=("__call__",))
    swap = fable.stage("1.0", "2.0")
    swap.shadow(1.0)
    assert greet("Ann") == "hi Ann"
    seen = settled(swap, 1)
    assert seen.shadow.last_difference == "__call__ answered 'hi Ann!', and the old version answered 'hi Ann'"
    swap.shadow(0.0)
    assert greet("Ann") == "hi Ann"


def test_async_calls_are_awaited_on_a_loop_of_the_shadows_own(fable):
    service, swap = served(
        fable,
        "import threading\nclass Service(Service):\n    async def later(self, text):\n"
        "        await asyncio.sleep(0.001)\n        return threading.current_thread().name\n",
    )
    swap.shadow(1.0)

    async def main():
        assert await service.later("a") == "A"

    asyncio.run(main())
    assert "noodle shadow of fable 2.0" in settled(swap, 1).shadow.last_difference


def test_generators_callbacks_and_what_cannot_be_copied_are_skipped_and_answered_as_ever(fable):
    service, swap = served(fable, old=OLD.replace("def table(self): return", "def table(self, x=0): return"))
    swap.shadow(1.0)
    lock, called = threading.Lock(), []
    assert list(service.items(3)) == [0, 1, 2]
    assert service.table(lock) == {"a": [1]}
    assert service.call(lambda: called.append(1)) is None

    async def main():
        return [item async for item in service.stream(2)]

    assert asyncio.run(main()) == [0, 1]
    seen = settled(swap, 4)
    assert (seen.shadow.ran, seen.shadow.skipped, called) == (0, 4, [1])
    assert seen.old.errors == 0


class Unwilling:
    def __init__(self, error):
        self.error = error

    def __deepcopy__(self, memo):
        raise self.error


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), RecursionError(), asyncio.CancelledError()])
def test_arguments_that_refuse_to_be_copied_do_not_hurt_the_call(fable, error):
    service, swap = served(fable, old=OLD.replace("def table(self): return", "def table(self, x=0): return"))
    swap.shadow(1.0)
    assert service.table(Unwilling(error)) == {"a": [1]}
    assert settled(swap, 1).shadow.skipped == 1


def test_a_call_that_is_cancelled_says_nothing_of_either_version(fable):
    service, swap = served(fable, old=OLD.replace("asyncio.sleep(0)", "asyncio.sleep(60)"))
    swap.shadow(1.0)

    async def main():
        task = asyncio.create_task(service.later("a"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    seen = swap.measure()
    assert (seen.shadow.ran, seen.shadow.skipped, seen.old.errors) == (0, 0, 0)


def test_what_a_caller_does_with_its_arguments_and_its_answer_is_no_difference(fable):
    service, swap = served(fable, source=OLD.replace("def render", "def _render") + "import time\n" + SLOW)
    swap.shadow(1.0)
    options = ["b"]
    answer = service.render("a", options)
    options.append("c")
    answer["text"] = "mine"
    service.table()["a"].append(2)
    seen = settled(swap, 2)
    assert (seen.shadow.different, seen.shadow.last_difference) == (0, "")


SLOW = """
class Service(Service):
    def render(self, text, options=None):
        time.sleep(0.05)
        return self._render(text, options)
"""


def test_each_copy_runs_in_a_context_of_its_own(fable):
    bump = """
    import contextvars
    number = contextvars.ContextVar("number", default=0)
    class Service:
        def bump(self):
            number.set(number.get() + 1)
            return number.get()
        async def bump_later(self): return self.bump()
    """
    service, swap = served(fable, old=textwrap.dedent(bump))
    swap.shadow(1.0)
    for _ in range(3):
        assert contextvars.Context().run(service.bump) == 1
        assert contextvars.Context().run(asyncio.run, service.bump_later()) == 1
    seen = settled(swap, 6)
    assert (seen.shadow.ran, seen.shadow.different) == (6, 0)


def test_what_it_takes_to_compare_is_none_of_the_versions_time(fable):
    service, swap = served(fable, compare=lambda old, new: time.sleep(0.1) is None)
    swap.shadow(1.0)
    service.render("a")
    seen = settled(swap, 1)
    assert sum(seen.new.latency[: bucket_of(0.05)]) == 1


# --- hostile versions ----------------------------------------------------------------------------------------------

HOSTILE = {
    "raises": "raise RuntimeError('new fails')",
    "exits": "raise SystemExit(1)",
    "interrupts": "raise KeyboardInterrupt",
    "is-cancelled": "raise asyncio.CancelledError",
    "mutates": "options.clear(); options.append('worse'); return {}",
    "mutates-globals": "log.append(text); globals()['Point'] = None; Service.render = None; return None",
    "nan": "return float('nan')",
    "unequal": "return Odd('raise')",
    "array": "return Odd('array')",
    "unshowable": "return Odd('repr')",
}
ODD = """
class Odd:
    def __init__(self, kind): self.kind = kind
    def __eq__(self, other):
        if self.kind == "raise": raise SystemExit("no comparison")
        return Many() if self.kind == "array" else False
    __hash__ = None
    def __repr__(self):
        if self.kind == "repr": raise SystemExit("no repr")
        return "odd"
class Many:
    def __bool__(self): raise ValueError("ambiguous")
    def all(self): return False
class Service(Service):
    def render(self, text, options=None):
        {body}
"""


@pytest.mark.parametrize("kind", HOSTILE)
def test_whatever_a_shadow_does_callers_and_old_objects_are_as_without_it_over_many_calls(fable, kind):
    service, swap = served(fable, ODD.format(body=HOSTILE[kind]), shadow=("render",))
    module, target = sys.modules["fable"], service._noodle_.bound.target
    names = dict(vars(module))
    swap.shadow(1.0)
    for number in range(10_000):
        options = ["b", number % 3]
        options[1] = str(options[1])
        answer = service.render("hi", options)
        assert answer == {"text": "HI", "options": sorted(options)}
        assert options == ["b", str(number % 3)]
    seen = settled(swap, 10_000)
    assert seen.shadow.ran > 0
    assert (seen.shadow.different, seen.new.errors) == (seen.shadow.ran, seen.shadow.ran)
    assert (seen.old.calls, seen.old.errors) == (10_000, 0)
    assert len(seen.new.last_error) < 700
    swap.revert()
    assert dict(vars(module)) == names
    assert vars(target) == {"calls": 10_000, "kept": {"a": [1]}}
    assert module.log == []
    assert shadows() == []


def test_a_hundred_thousand_calls_are_answered_as_ever_by_a_shadowed_version(fable):
    service, swap = served(fable, ODD.format(body=HOSTILE["raises"]), shadow=("render",))
    swap.shadow(0.2)
    wrong = []

    def work():
        wrong.extend(n for n in range(12_500) if service.render(str(n))["text"] != str(n))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen = settled(swap, 19_995)
    assert wrong == []
    assert (seen.old.calls, seen.old.errors) == (100_000, 0)
    assert 19_995 <= seen.shadow.ran + seen.shadow.skipped <= 20_005
    assert seen.shadow.different == seen.new.errors == seen.shadow.ran


HANGS = {
    "plain": "    def render(self, text, options=None): import threading; threading.Event().wait(20)\n",
    "comparison": "    def render(self, text, options=None): return Slow()\n",
    "async": "    async def later(self, text): await asyncio.sleep(3600)\n",
    "stubborn": "    async def later(self, text):\n        while True:\n            try: await asyncio.sleep(20)\n"
    "            except BaseException: pass\n            import time; time.sleep(20)\n",
}


@pytest.mark.parametrize("kind", HANGS)
def test_a_shadow_that_hangs_stalls_is_skipped_and_holds_nobody_up(fable, kind):
    slow = "class Slow:\n    def __eq__(self, other): import time; time.sleep(20)\n"
    service, swap = served(fable, slow + "class Service(Service):\n" + HANGS[kind])
    swap.shadow(1.0)
    begun = time.perf_counter()
    for _ in range(MOST_WAITING + 50):
        if "async" in HANGS[kind]:
            assert asyncio.run(service.later("a")) == "A"
        else:
            assert service.render("a")["text"] == "A"
    assert time.perf_counter() - begun < 10
    time.sleep(0.05)
    seen = swap.measure()
    assert seen.shadow.skipped >= 40
    assert (seen.new.in_flight, seen.shadow.ran) == (1, 0)
    assert seen.new.stalled > 0.04
    begun = time.perf_counter()
    swap.shift(1.0)
    swap.commit()
    assert time.perf_counter() - begun < 2
    assert swap.running() == {"fable": "2.0"}


def test_a_shadow_that_hangs_does_not_hold_up_the_state_either(fable):
    service, swap = served(fable, HANGING_STATE, old=COUNTER, shadow=("add",))
    swap.shadow(1.0)
    service.add()
    while not swap.measure().new.in_flight:
        time.sleep(0.001)
    begun = time.perf_counter()
    swap.shift(1.0)
    assert time.perf_counter() - begun < 3
    assert service.total == 1


# --- state ---------------------------------------------------------------------------------------------------------

COUNTER = """
class Service:
    def __init__(self): self.total = 0; self.log = []
    def add(self, n=1):
        self.total += n
        self.log.append(n)
        return self.total
    def stay(self, inside, leave): inside.set(); leave.wait(30)
    def export_state(self): return {"total": self.total, "log": self.log}
    def import_state(self, state): self.total, self.log = state["total"], state["log"]
"""
HANGING_STATE = "class Service(Service):\n    def add(self, n=1): import time; time.sleep(20)\n"


def test_a_shadow_goes_on_from_a_copy_of_the_state_and_the_old_one_shares_nothing_with_it(fable):
    service, swap = served(fable, old=COUNTER)
    service.add(5)
    swap.shadow(1.0)
    assert [service.add() for _ in range(20)] == list(range(6, 26))
    seen = settled(swap, 20)
    assert (seen.shadow.ran, seen.shadow.different) == (20, 0)
    assert (service.total, service.log) == (25, [5] + [1] * 20)
    swap.shift(1.0)
    assert (service.add(), service.log) == (26, [5] + [1] * 21)


def test_a_shadow_with_state_misses_no_call_of_threads_from_the_moment_its_state_was_copied(fable):
    service, swap = served(fable, old=COUNTER.replace("return self.total", "return None"))
    stop, made = threading.Event(), []

    def work():
        calls = 0
        while not stop.is_set():
            service.add()
            calls += 1
            time.sleep(0.001)
        made.append(calls)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    swap.shadow(1.0)
    target = next(iter(swap.parts[0].double._bounds.values())).target
    time.sleep(0.3)
    stop.set()
    for thread in threads:
        thread.join()
    seen = settled(swap, swap.measure().old.calls)
    assert seen.shadow.skipped == 0
    assert target.total == service.total == sum(made)


def test_a_state_that_cannot_be_copied_or_taken_begins_no_shadow_and_changes_nothing(fable):
    service, swap = served(
        fable, old=COUNTER.replace("return {", "import threading; return {'lock': threading.Lock(), ")
    )
    before = dict(vars(service))
    with pytest.raises(MigrationError, match="copying the state"):
        swap.shadow(0.5)
    assert vars(service) == before
    assert shadows() == []
    assert len([name for name in sys.modules if name.startswith("fable@")]) == 1


def test_a_shadow_with_state_that_finds_no_moment_to_copy_it_is_refused(fable):
    service, swap = served(fable, old=COUNTER)
    swap._quiet = type(swap._quiet)(names=swap._quiet.names, suspended=swap._quiet.suspended, within=0.1)
    inside, leave = threading.Event(), threading.Event()
    thread = threading.Thread(target=service.stay, args=(inside, leave), name="stayer")
    thread.start()
    inside.wait()
    try:
        with pytest.raises(DrainTimeoutError, match="stayer"):
            swap.shadow(1.0)
        assert service.add() == 1
        assert service.add.__func__.__qualname__ == "Service.add"
    finally:
        leave.set()
        thread.join()


# --- its end -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["shadow", "shift", "members", "commit", "revert"])
def test_when_a_shadow_ends_its_objects_are_garbage_and_its_counts_are_not_mixed_with_real_traffic(fable, end):
    service, swap = served(fable, ODD.format(body=HOSTILE["raises"]), shadow=("render",))
    other = fable.handle()
    swap = fable.stage("1.0", "2.0")
    assert swap.capabilities == {COUNTS, WEIGHTS, SHADOW, MEMBERS}
    before = dict(vars(service))
    swap.shadow(1.0)
    (bound,) = swap.parts[0].double._bounds.values()
    gone = [weakref.ref(bound.target), weakref.ref(type(bound.target)), weakref.ref(bound.space.load("fable"))]
    del bound
    for _ in range(10):
        service.render("a")
    assert settled(swap, 10).new.errors == 10
    kept = service.render
    match end:
        case "shadow":
            swap.shadow(0.0)
        case "shift":
            swap.shift(0.5)
        case "members":
            swap.shift_members(["fable:Service#2"])
        case _:
            getattr(swap, end)()
    gc.collect()
    assert [ref() for ref in gone] == [None] * 3
    assert shadows() == []
    seen = swap.measure()
    assert seen is None or (seen.shadow, seen.new.calls, seen.new.errors, seen.old.calls) == (None, 0, 0, 0)
    if end in ("shadow", "revert"):
        assert vars(service) == before
    assert None not in (kept, other)


def test_a_share_can_change_while_a_shadow_runs_and_its_counts_go_on(fable):
    service, swap = served(fable)
    swap.shadow(1.0)
    for _ in range(10):
        service.render("a")
    swap.shadow(0.5)
    for _ in range(10):
        service.render("a")
    seen = settled(swap, 15)
    assert (seen.shadow.share, seen.shadow.ran, seen.old.calls) == (0.5, 15, 20)


def test_a_shadow_takes_traffic_back_first_and_comes_too_late_after_the_commit(fable):
    service, swap = served(fable)
    swap.shift(0.5)
    swap.shadow(1.0)
    assert swap.running() == {"fable": "1.0"}
    for _ in range(10):
        service.render("a")
    assert settled(swap, 10).old.calls == 10
    swap.commit()
    with pytest.raises(InvalidRequestError, match="too late"):
        swap.shadow(0.5)


def test_a_shadow_takes_members_back_first_with_their_state(fable):
    service, _ = served(fable, old=COUNTER)
    other = fable.handle()
    swap = fable.stage("1.0", "2.0")
    SWAPS.append(swap)
    swap.shift_members(["fable:Service#1"])
    service.add(5)
    other.add(7)
    swap.shadow(1.0)
    assert (service.add(), other.add(), swap.running()) == (6, 8, {"fable": "1.0"})
    assert (settled(swap, 1).shadow.ran, swap.measure().shadow.different) == (1, 0)


def test_a_version_that_cannot_be_made_for_a_shadow_leaves_everything_as_it_was(fable):
    service, swap = served(
        fable, arguments={"lock": threading.Lock()}, old=OLD.replace("(self): self.calls", "(self, lock): self.calls")
    )
    before = dict(vars(service))
    with pytest.raises(StageError, match="cannot be copied for a shadow"):
        swap.shadow(0.5)
    assert vars(service) == before
    assert len([name for name in sys.modules if name.startswith("fable@")]) == 1


def test_copies_that_come_when_a_shadow_has_ended_are_dropped(fable):
    service, swap = served(fable)
    swap.shadow(1.0)
    kept = service.render
    swap.shadow(0.0)
    assert kept("a")["text"] == "A"
    assert shadows() == []


def test_without_counting_there_is_no_shadow(fable):
    _, swap = served(fable)
    from noodle_upgrade_runtime.handover import Quiet
    from noodle_upgrade_runtime.swap import RuntimeSwap

    uncounted = RuntimeSwap(swap.parts, versions={"fable": ("1.0", "2.0")}, quiet=Quiet(), ledger={}, counting=False)
    assert uncounted.capabilities == {WEIGHTS}


# --- outcomes ------------------------------------------------------------------------------------------------------


def test_the_same_kind_of_exception_is_the_same_outcome_and_another_one_is_not(fable):
    service, swap = served(
        fable, "class Service(Service):\n    def fails(self, kind): raise ValueError('otherwise said')\n"
    )
    swap.shadow(1.0)
    for kind in ("value", "key"):
        with pytest.raises((ValueError, KeyError)):
            service.fails(kind)
    seen = settled(swap, 2)
    assert (seen.shadow.ran, seen.shadow.different) == (2, 1)
    assert (seen.old.errors, seen.new.errors) == (2, 1)
    assert seen.new.last_error == (
        "fails raised ValueError: otherwise said, and the old version raised KeyError: 'key'"
    )


def test_a_comparison_of_the_users_own_decides(fable):
    service, swap = served(
        fable, "class Service(Service):\n    def render(self, text, options=None): return text\n",
        compare=lambda old, new: old["text"].lower() == new,
    )  # fmt: skip
    swap.shadow(1.0)
    service.render("a")
    assert settled(swap, 1).shadow.different == 0


def test_objects_of_two_versions_of_a_class_differ_and_the_words_say_what_to_do(fable):
    service, swap = served(fable)
    swap.shadow(1.0)
    service.point()
    assert "handle(…, compare=…)" in settled(swap, 1).shadow.last_difference


def test_two_answers_that_are_no_numbers_are_the_same():
    assert difference(Answered(math.nan), Answered(float("nan"))) == ""
    assert difference(Answered(1.0), Answered(math.nan)) != ""


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary(), lambda inner: st.lists(inner), max_leaves=8
)


@given(values, values)
def test_answers_differ_exactly_when_they_are_not_equal_and_words_about_them_are_short(old, new):
    found = difference(Answered(old), Answered(new))
    assert (found == "") == (old == new)
    assert len(found) < 600


@given(st.sampled_from([ValueError, KeyError, SystemExit]), st.text(), st.sampled_from([ValueError, KeyError]))
def test_exceptions_differ_by_their_kind_only(old, text, new):
    found = difference(Raised.by(old(text)), Raised.by(new("other")))
    assert (found == "") == (old is new)
    assert len(found) < 600
