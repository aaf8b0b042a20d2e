"""What importing a version does to the process besides: done once, by the version that runs."""

import logging
import mimetypes
import sys
import warnings

import pytest

LOGGER = """
import logging
log = logging.getLogger('PKG.log')
log.addHandler(logging.StreamHandler())
log.setLevel('WARNING')
"""


def test_staging_leaves_a_logger_as_it_is_and_the_program_s_level_stays(package):
    log = package.load(LOGGER, LOGGER + "log.propagate = False\n").log
    (handler,) = log.handlers
    log.setLevel("DEBUG")
    assert log.isEnabledFor(logging.DEBUG)
    package.stage()
    assert (log.handlers, log.level, log.propagate, log.isEnabledFor(logging.DEBUG)) == ([handler], 10, True, True)
    package.upgrade()
    assert (log.handlers, log.level, log.propagate, log.isEnabledFor(logging.DEBUG)) == ([handler], 10, False, True)
    package.rollback()
    assert (log.handlers, log.level, log.propagate) == ([handler], 10, True)


def test_a_level_that_the_new_version_changes_is_in_force_at_once(package):
    log = package.load(LOGGER, LOGGER.replace("WARNING", "ERROR")).log
    assert log.isEnabledFor(logging.WARNING)
    package.upgrade()
    assert not log.isEnabledFor(logging.WARNING)
    package.rollback()
    assert log.isEnabledFor(logging.WARNING)


@pytest.mark.parametrize(
    ("program", "old", "new"),
    [("pass", 1, 2), ("handlers.clear()", 0, 1), ("handlers.append(logging.StreamHandler())", 2, 3)],
    ids=["as it was", "taken away", "one more"],
)
def test_handlers_are_the_new_version_s_and_the_program_s_and_none_is_there_twice(package, program, old, new):
    log = package.load(LOGGER, LOGGER + "log.addHandler(logging.NullHandler())\n").log
    exec(program, {"handlers": log.handlers, "logging": logging})
    before = list(log.handlers)
    assert len(before) == old
    package.upgrade()
    assert len(log.handlers) == new
    package.rollback()
    assert log.handlers == before


def test_a_handler_that_the_new_version_does_not_put_there_is_gone_and_comes_back(package):
    log = package.load(LOGGER, LOGGER.replace("log.addHandler(logging.StreamHandler())", "")).log
    before = list(log.handlers)
    package.upgrade()
    assert log.handlers == []
    package.rollback()
    assert log.handlers == before


def test_a_logger_of_the_new_version_is_set_by_the_commit_only(package):
    package.load("", "import logging\nlogging.getLogger('PKG.new').addHandler(logging.NullHandler())\n")
    log = logging.getLogger(f"{package.name}.new")
    package.stage()
    assert log.handlers == []
    package.upgrade()
    assert len(log.handlers) == 1
    package.rollback()
    assert log.handlers == []


def test_types_of_files_are_the_new_version_s_from_the_commit_on(package):
    mimetypes.init()
    text = "import mimetypes\nmimetypes.add_type('PKG/VERSION', '.PKG')\n"
    package.load(text.replace("VERSION", "old"), text.replace("VERSION", "new"))
    kinds = [f"{package.name}/old", f"{package.name}/new"]
    file = f"x.{package.name}"
    package.stage()
    assert (mimetypes.guess_type(file)[0], mimetypes.guess_all_extensions(kinds[1])) == (kinds[0], [])
    package.upgrade()
    assert mimetypes.guess_type(file)[0] == kinds[1]
    package.rollback()
    assert (mimetypes.guess_type(file)[0], mimetypes.guess_all_extensions(kinds[1])) == (kinds[0], [])


@pytest.mark.parametrize("put", ["insert(0, 'PKG/../folder')", "insert(0, __path__[0] + '/..')", "append(str('PKG'))"])
def test_a_path_that_an_import_adds_without_asking_is_there_once_and_is_as_it_was_afterwards(package, put):
    module = package.load(f"import sys\nsys.path.{put}\n", f"import sys\nsys.path.{put}\nword = 'new'\n")
    before = list(sys.path)
    package.stage()
    assert sys.path == before
    package.upgrade()
    assert module.word == "new"
    assert [sys.path.count(one) for one in before] == [before.count(one) for one in before]
    package.rollback()
    assert sys.path == before


def test_a_filter_that_takes_the_place_of_its_equal_is_one(package):
    text = "import warnings\nwarnings.filterwarnings('ignore', 'PKG')\n"
    with warnings.catch_warnings():
        package.load(text, text + "word = 'new'\n")
        before = list(warnings.filters)
        package.upgrade()
        assert warnings.filters == before
        package.rollback()
        assert warnings.filters == before
