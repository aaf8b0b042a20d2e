import os
import sys

import pytest

from noodle_upgrade_runtime.rehearsal import Rehearsals

SERVICE = "class Service:\n    def __init__(self): raise RuntimeError('made')\n"


@pytest.fixture
def judge(fable, tmp_path):
    fable.run("1.0")
    fable.write("1.0", "class Service: pass\n")
    held = fable.handle()

    def ask(source, limit=20.0, version="2.0", **files):
        fable.write(version, source, **files)
        change = fable.change("1.0", version)
        verdict = fable.engine.assess(change)
        rehearsals = Rehearsals(tmp_path / "rehearsals")
        return rehearsals.judge(verdict, change, engine=fable.engine, digests=(version,), limit=limit)

    yield ask
    del held


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import no_such_module_here", "No module named 'no_such_module_here'"),
        ("class Other: pass", "Service"),
        ("import sys; sys.exit(4)", "SystemExit"),
        ("import os; os._exit(7)", "ended the interpreter with code 7"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "crashed with SIGSEGV"),
        ("while True: print('x' * 100000)", "printed more than 8 MiB"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    ],
)
def test_a_version_that_goes_wrong_at_import_is_refused_with_the_reason(judge, source, says):
    verdict = judge(source)
    assert not verdict.feasible
    assert says in verdict.blockers[0]
    assert not [name for name in sys.modules if name.startswith("fable@")]


def test_a_version_that_hangs_is_killed_when_the_time_is_over_with_all_that_it_started(judge, tmp_path):
    fifo = tmp_path / "alive"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        verdict = judge(
            f"import os, subprocess, sys, time\nfd = os.open({str(fifo)!r}, os.O_WRONLY)\n"
            "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'], pass_fds=[fd])\n"
            "os.write(fd, b'x')\ntime.sleep(1000)\n",
            limit=3.0,
        )
        # The end of the file comes when nobody holds the other end any more.
        os.set_blocking(reader, True)
        while os.read(reader, 10):
            pass
    finally:
        os.close(reader)
    assert not verdict.feasible
    assert "did not end within 3 s" in verdict.blockers[0]
    assert list(tmp_path.glob("rehearsals/*")) == []


def test_a_version_that_goes_well_is_measured_and_its_object_is_not_made(judge):
    verdict = judge(SERVICE)
    assert verdict.feasible
    assert verdict.evidence["modules"] == 1
    assert 0 < verdict.expected_seconds < 20
    assert "went well" in verdict.reasons[-1]


def test_the_same_change_is_not_rehearsed_twice_and_another_one_is(judge, fable, tmp_path, monkeypatch):
    first = judge(SERVICE)
    monkeypatch.setattr("noodle_upgrade_runtime.rehearsal.rehearse", None)
    change = fable.change("1.0", "2.0")
    verdict = fable.engine.assess(change)
    again = Rehearsals(tmp_path / "rehearsals")
    assert again.judge(verdict, change, engine=fable.engine, digests=("2.0",), limit=1).feasible == first.feasible
    with pytest.raises(TypeError):
        again.judge(verdict, change, engine=fable.engine, digests=("other bytes",), limit=1)


def test_a_memory_that_is_damaged_is_made_anew(judge, tmp_path):
    judge(SERVICE)
    (file,) = (tmp_path / "rehearsals").glob("*.json")
    file.write_text("{")
    assert judge(SERVICE, version="2.0.1").feasible


def test_without_an_interpreter_the_plan_says_that_nothing_was_rehearsed(judge, monkeypatch):
    monkeypatch.setattr(sys, "executable", "")
    verdict = judge(SERVICE)
    assert verdict.feasible
    assert "no rehearsal was made" in verdict.warnings[0]
