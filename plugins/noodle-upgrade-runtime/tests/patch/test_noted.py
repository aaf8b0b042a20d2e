"""Wrappers that have noted how many arguments the function takes that they wrap."""

import pytest

MAKER = """
def fitting(function):
    skipped, known = 0, False
    def wrapper(*args):
        nonlocal skipped, known
        while True:
            try:
                result = function(*args[skipped:])
                known = True
                return result
            except TypeError:
                if known or skipped == len(args): raise
                skipped += 1
    return wrapper
def counted(function):
    calls = 0
    def wrapper(*args):
        nonlocal calls
        calls += 1
        return calls, function(*args[-1:])
    return wrapper
"""
OLD = MAKER + "@fitting\ndef act(tokens): return tokens\n@counted\ndef count(tokens): return tokens\n"
NEW = OLD.replace("act(tokens)", "act(text, tokens)").replace("count(tokens)", "count(tokens, more=None)")


@pytest.fixture
def used(package):
    module = package.load(OLD + "def shout(x): return x\n", NEW + "def shout(a, x): return x\n")
    assert module.act("text", "tokens") == "tokens"
    assert module.count("tokens") == (1, "tokens")
    return module


def test_a_wrapper_begins_anew_with_a_function_that_takes_others(package, used):
    package.upgrade()
    assert used.act("text", "tokens") == "tokens"
    assert used.act("text", "tokens") == "tokens"


def test_going_back_brings_back_what_was_noted(package, used):
    package.upgrade()
    used.act("text", "tokens")
    package.rollback()
    assert used.act("text", "tokens") == "tokens"


def test_one_that_was_not_used_before_is_as_it_was_after_going_back(package):
    module = package.load(OLD, NEW)
    package.upgrade()
    module.act("text", "tokens")
    package.rollback()
    assert module.act("text", "tokens") == "tokens"


def test_one_that_the_program_has_made_begins_anew_too(package, used):
    mine = used.fitting(used.shout)
    assert mine("a", "x") == "x"
    package.upgrade()
    assert mine("a", "x") == "x"
    package.rollback()
    assert mine("a", "x") == "x"


def test_one_that_was_made_since_begins_anew_when_the_version_is_left(package, used):
    package.upgrade()
    mine = used.fitting(used.shout)
    assert mine("a", "x") == "x"
    package.rollback()
    package.prepared.went_back()
    assert mine("a", "x") == "x"


def test_what_a_wrapper_has_counted_goes_on(package, used):
    package.upgrade()
    assert used.count("tokens") == (2, "tokens")
    package.rollback()
    assert used.count("tokens") == (3, "tokens")


def test_a_wrapper_made_between_the_look_and_the_commit_begins_anew(package, used):
    prepared = package.stage()
    with prepared.looking():
        mine = used.fitting(used.shout)
        assert mine("a", "x") == "x"
        for operation in prepared.operations():
            operation.do[0](*operation.do[1:])
    assert mine("a", "x") == used.act("a", "x") == "x"


def test_one_that_wraps_what_passes_all_on_begins_anew(package, used):
    def passing_on(function):
        return lambda *args: function(*args)

    mine = used.fitting(passing_on(used.shout))
    assert mine("a", "x") == "x"
    package.upgrade()
    assert mine("a", "x") == "x"
    package.rollback()
    assert mine("a", "x") == "x"


def test_a_place_in_a_table_of_its_own_is_no_number_of_arguments(package):
    old = """
    LINES = list("abcdef")
    def feeding(function):
        at = 0
        def feed(*args):
            nonlocal at
            at += 1
            return function(LINES[at - 1 : at], LINES[at], *args)
        return feed
    @feeding
    def feed(lines, line): return lines, line
    """
    module = package.load(old, old.replace("def feed(lines, line)", "def feed(lines, line, end='')"))
    assert module.feed() == (["a"], "b")
    package.upgrade()
    assert module.feed() == (["b"], "c")
