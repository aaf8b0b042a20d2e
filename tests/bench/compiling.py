"""The compiler: how fast, how little when there is nothing to do, and what a live upgrade costs those who compile."""

from __future__ import annotations

import math
import random
import statistics
import struct
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from measuring import Options, Reading, alternately, collector_off, pair_ratio
from sources import both, plain_program, small_file

from noodle_upgrade_compiler.building import build
from noodle_upgrade_compiler.compiler import TRIAL, Compiler
from noodle_upgrade_compiler.contract import PHASES
from noodle_upgrade_compiler.errors import NbcError
from noodle_upgrade_compiler.nbc import format as nbc
from noodle_upgrade_compiler.nbc.verifier import verify
from noodle_upgrade_compiler.pipeline import PhaseSet, compile_source
from noodle_upgrade_compiler.recompiling import recompile
from noodle_upgrade_compiler.store import Store
from noodle_upgrade_compiler.versions import Library

__all__ = ["fuzz", "live", "many", "running", "speed"]

DENSE = 20_000
FILES = 10_000
INPUTS = 1_000_000


def _phases(**versions: str) -> PhaseSet:
    library = Library()
    return PhaseSet(*(library.get(phase, versions.get(phase, "1.0.0")) for phase in PHASES))


def _cpu(function: object, *arguments: object) -> float:
    """Return milliseconds of CPU that a call takes, with nothing to clean up from the one before."""
    with collector_off():
        begun = time.process_time_ns()
        made = function(*arguments)  # type: ignore[operator]
        spent = (time.process_time_ns() - begun) / 1e6
        del made
    return spent


def speed(options: Options) -> list[Reading]:
    """From a source to code, in memory, against CPython on the same program, and by a Lark parser in between."""
    noodle, python = both(options.most(DENSE, 2_000))
    default, lark = _phases(), _phases(parser="2.0.0")

    def compiled(phases: PhaseSet, text: str = noodle) -> object:
        result = compile_source(text, "dense.noodle", phases)
        assert result.success, result.errors[:3]
        return result

    found = alternately(
        {
            "noodle": lambda: _cpu(compiled, default),
            "cpython": lambda: _cpu(compile, python, "dense.py", "exec"),
        },
        rounds=options.most(options.rounds, 3),
    )
    by_lark = [_cpu(compiled, lark) for _ in range(options.most(3, 1))]
    ours = statistics.median(found["noodle"])
    lengths = [1_000, 4_000, 16_000, 64_000] if not options.quick else [500, 1_000, 2_000]
    ours_by_length, pythons_by_length = {}, {}
    for length in lengths:
        program, same = both(length)
        spent = alternately(
            {
                "noodle": lambda program=program: _cpu(compiled, default, program),
                "cpython": lambda same=same: _cpu(compile, same, "dense.py", "exec"),
            },
            rounds=options.most(5, 2),
        )
        ours_by_length[length], pythons_by_length[length] = min(spent["noodle"]), min(spent["cpython"])
    return [
        Reading(
            name="compile_vs_cpython",
            value=ours,
            reference=statistics.median(found["cpython"]),
            ratio=pair_ratio(found["noodle"], found["cpython"]),
            note=f"{noodle.count(chr(10)):,} lines, CPU",
        ),
        Reading(
            name="compile_vs_lark",
            value=ours,
            reference=statistics.median(by_lark),
            ratio=ours / statistics.median(by_lark),
            note="the whole pipeline with parser 2.0.0, pure Python",
        ),
        Reading(
            name="compile_exponent",
            value=_exponent(ours_by_length),
            reference=_exponent(pythons_by_length),
            note="CPython's own is the reference; "
            + ", ".join(f"{length:,} lines {spent:.0f} ms" for length, spent in ours_by_length.items()),
        ),
    ]


def _exponent(times: Mapping[int, float]) -> float:
    """Return the power of the length that times grow by: 1 is linear."""
    logs = [(math.log(length), math.log(spent)) for length, spent in times.items()]
    return statistics.linear_regression(*zip(*logs, strict=True)).slope


def many(options: Options) -> list[Reading]:
    """Ten thousand files: nothing to do, an upgrade that changes nothing, one that affects one in a hundred."""
    count = options.most(FILES, 300)
    for number in range(count):
        path = options.folder / "src" / f"part{number % 100}" / f"f{number}.noodle"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(small_file(number, count, with_match=number % 100 == 0))
    places, phases = [options.folder / "src"], _phases()
    store = Store(options.folder / "cache" / "outputs.db", entries=count)
    begun = time.perf_counter()
    first = build(places, phases, store)
    whole = time.perf_counter() - begun
    assert first.success
    assert len(first.built) == count
    noop: dict[str, list[float]] = {"stat": [], "content": []}
    for _ in range(options.most(9, 3)):
        for by, spent in noop.items():
            wall, cpu = time.perf_counter_ns(), time.process_time_ns()
            report = build(places, phases, store, by=by)  # type: ignore[arg-type]
            assert report.unchanged == count
            spent.append(((time.perf_counter_ns() - wall) if by == "stat" else (time.process_time_ns() - cpu)) / 1e6)
    changed = _phases(bytecode_generator="2.0.0")
    begun = time.perf_counter()
    done = recompile(changed, phases, store)
    affected = time.perf_counter() - begun
    assert len(done.affected) == count // 100
    assert not done.is_everything
    # Last: it compiles every file by another lexer, whose tokens are the same.
    later = build(places, _phases(lexer="1.1.0"), store)
    assert later.phases["lexer"] == count
    store.close()
    return [
        Reading(name="noop_stat", value=statistics.median(noop["stat"]), note=f"{count:,} files, wall"),
        Reading(name="noop_content", value=statistics.median(noop["content"]), note=f"{count:,} files, CPU"),
        Reading(name="cutoff_runs", value=float(sum(later.phases.get(phase, 0) for phase in PHASES[1:]))),
        Reading(
            name="affected_share",
            value=affected * 1e3,
            reference=whole * 1e3,
            ratio=affected / whole,
            note=f"{len(done.affected)} of {count:,} files, and {done.tried} tried besides",
        ),
    ]


def running(options: Options) -> list[Reading]:
    """A compiled program against the same one written in Python."""
    noodle, python = plain_program()
    made = compile_source(noodle, "plain.noodle", _phases()).bytecode
    same = compile(python, "plain.py", "exec")
    assert made is not None

    def run(code: object) -> object:
        space: dict[str, object] = {}
        exec(code, space)  # type: ignore[arg-type]
        return space["result"]

    assert run(made) == run(same)
    found = alternately(
        {"noodle": lambda: _cpu(run, made), "python": lambda: _cpu(run, same)}, rounds=options.most(options.rounds, 3)
    )
    return [
        Reading(
            name="run_vs_python",
            value=statistics.median(found["noodle"]),
            reference=statistics.median(found["python"]),
            ratio=pair_ratio(found["noodle"], found["python"]),
        )
    ]


def live(options: Options) -> list[Reading]:
    """Eight threads compile while phases are changed two hundred times: none may fail, or see two sets."""
    compiler, library = Compiler(), Library()
    sets = [compiler.current, compiler.current.having(library.get("lexer", "1.1.0"), library.get("optimizer", "2.0.0"))]
    allowed = {tuple(one.versions.values()) for one in sets}
    over, failed, mixed, count = threading.Event(), [0], [0], [0]

    def work(thread: int) -> None:
        number = 0
        while not over.is_set():
            number += 1
            result = compiler.compile(f"let x = {number % 50}; print(x);", f"{thread}.noodle")
            failed[0] += not result.success
            mixed[0] += tuple(result.statistics["component_versions"].values()) not in allowed
            count[0] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for number in range(options.most(200, 20)):
        seen = count[0]
        with compiler.paused(60) if number % 2 else _nothing():
            compiler.current = sets[(number + 1) % 2]
        while count[0] < seen + 8:
            time.sleep(0.0005)
    over.set()
    for thread in threads:
        thread.join()
    note = f"{count[0]:,} compilations"
    return [
        Reading(name="live_failed", value=float(failed[0]), note=note),
        Reading(name="live_mixed", value=float(mixed[0]), note=note),
    ]


class _nothing:  # noqa: N801 - a context
    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


def fuzz(options: Options) -> list[Reading]:
    """Damaged files, with digests that fit: each is refused by a typed error, or can be verified."""
    data = Compiler().compile(TRIAL, "trial.noodle", targets=("nbc",)).nbc_bytecode
    assert data is not None
    body = data[22:]
    chance = random.Random(1)
    unhandled = refused = 0
    worst = ""
    total = options.most(INPUTS, 2_000)
    for _ in range(total):
        changed = bytearray(body)
        for _ in range(chance.choice((1, 1, 2, 4))):
            kind = chance.random()
            at = chance.randrange(len(changed))
            if kind < 0.7:
                changed[at] = chance.randrange(256)
            elif kind < 0.85:
                del changed[at : at + chance.randrange(1, 9)]
            else:
                changed[at:at] = chance.randbytes(chance.randrange(1, 9))
            if not changed:
                break
        sealed = nbc.MARK + struct.pack("<H", nbc.VERSION) + nbc._digest(bytes(changed)) + bytes(changed)
        try:
            verify(nbc.loads(sealed))
        except NbcError:
            refused += 1
        except Exception as error:
            unhandled += 1
            worst = f"{type(error).__name__}: {error}"
    note = f"{total:,} inputs, {refused:,} refused{'; ' + worst if worst else ''}"
    return [Reading(name="nbc_fuzz_unhandled", value=float(unhandled), note=note)]


if __name__ == "__main__":
    import sys
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        asked = Options(rounds=3, quick=True, folder=Path(folder))
        for one in (speed, many, running, live, fuzz):
            sys.stdout.write("".join(f"{reading}\n" for reading in one(asked)))
