import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noodle_upgrade_deployment.simulation import recordings
from noodle_upgrade_deployment.simulation.recordings import RecordingError, read_recording


def written(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


CSV = "at,seconds,status,key\n100.5,0.01,200,ann\n100.0,0.02,503,bob\n\n101.0,1.5,404,ann\n102.0,0.1,200,\n"


def test_a_csv_is_read_in_the_order_of_its_moments(tmp_path):
    read = read_recording(written(tmp_path, "calls.csv", CSV))
    assert list(read.at) == [0.0, 0.5, 1.0, 2.0]
    assert list(read.seconds) == [0.02, 0.01, 1.5, 0.1]
    assert list(read.bad) == [1, 0, 0, 0]
    assert list(read.key) == [1, 0, 0, -1]
    assert read.keys == 2
    assert read.span == pytest.approx(2.0 * 4 / 3)


def test_json_lines_are_read_with_iso_times_of_any_zone(tmp_path):
    lines = [
        {"at": "2026-03-01T12:00:00Z", "seconds": 0.5, "error": False},
        {"at": "2026-03-01T14:00:01+02:00", "seconds": 0.25, "error": True},
        {"at": "2026-03-01T12:00:03", "seconds": 1, "error": False},
    ]
    read = read_recording(written(tmp_path, "calls.jsonl", "\n".join(map(json.dumps, lines))))
    assert list(read.at) == [0.0, 1.0, 3.0]
    assert list(read.bad) == [0, 1, 0]
    assert read.keys == 0
    assert len(read.key) == 0


def test_a_byte_order_mark_and_other_line_ends_do_no_harm(tmp_path):
    text = b"\xef\xbb\xbf" + CSV.replace("\n", "\r\n").encode()
    assert len(read_recording(written(tmp_path, "calls.csv", text))) == 4


LOG = """\
10.0.0.1 - - [01/Mar/2026:12:00:00 +0000] "GET / HTTP/1.1" 200 512 "-" "curl \\"8\\"" 0.012
10.0.0.2 - ann [01/Mar/2026:12:00:00 +0000] "GET /a HTTP/1.1" 502 0 "http://x/" "y" 1.500
10.0.0.1 - - [01/Mar/2026:14:00:02 +0200] "GET /b HTTP/1.1" 404 0 250
"""


def test_an_access_log_is_read_as_it_is(tmp_path):
    read = read_recording(written(tmp_path, "access.log", LOG))
    assert list(read.at) == [0.0, 0.5, 2.0]
    assert list(read.seconds) == [0.012, 1.5, 0.00025]
    assert list(read.bad) == [0, 1, 0]
    assert list(read.key) == [0, 1, 0]


def test_of_several_versions_one_must_be_named(tmp_path):
    text = "at,seconds,error,version\n1,1,true,1.0\n2,1,false,1.0\n3,1,false,2.0\n4,1,true,2.0\n"
    path = written(tmp_path, "calls.csv", text)
    with pytest.raises(RecordingError, match=r"several versions: 1\.0, 2\.0"):
        read_recording(path)
    assert list(read_recording(path, version="2.0").bad) == [0, 1]
    with pytest.raises(RecordingError, match=r"of version '3\.0'; there are: 1\.0, 2\.0"):
        read_recording(path, version="3.0")


HEAD = "at,seconds,error\n1,1,true\n"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("calls.csv", "", "Line 1 does not name at and seconds"),
        ("calls.csv", "at,seconds,error\n", "less than 1 s"),
        ("calls.csv", HEAD, "less than 1 s"),
        ("calls.csv", HEAD + "1,1,true\n", "less than 1 s"),
        ("calls.csv", "at,second,error\n", "Line 1 names 'second'"),
        ("calls.csv", "at,at,seconds,error\n", "Line 1 names a field twice"),
        ("calls.csv", "at,seconds\n", "must name error or status"),
        ("calls.csv", "at,seconds,error,status\n", "must name error or status"),
        ("calls.csv", HEAD + "2,1\n", "Line 3 has 2 fields"),
        ("calls.csv", HEAD + "2,1,maybe\n", "Line 3 makes no sense: error is 'maybe'"),
        ("calls.csv", HEAD + "yesterday,1,true\n", "neither seconds nor an ISO time"),
        ("calls.csv", HEAD + "nan,1,true\n", "Line 3"),
        ("calls.csv", HEAD + "inf,1,true\n", "Line 3"),
        ("calls.csv", HEAD + "2,-1,true\n", "Line 3"),
        ("calls.csv", HEAD + "2,1e9,true\n", "Line 3"),
        ("calls.csv", HEAD + "2,1_0,true\n", "Line 3"),
        ("calls.csv", HEAD + "2,\u0661,true\n", "Line 3"),
        ("calls.csv", HEAD + "2,,true\n", "Line 3"),
        ("calls.csv", HEAD + '2,"1,true\n', "is no CSV"),
        ("calls.csv", HEAD + "9e9,1,true\n", "more than a year"),
        ("calls.csv", HEAD.encode() + b"2,\xff,true\n", "Line 3 is no text in UTF-8"),
        ("calls.csv", HEAD + "2,1," + "x" * 70_000, "Line 3 is longer than"),
        ("calls.csv", "at,seconds,status\n1,1,99\n", "Line 2"),
        ("calls.csv", "at,seconds,status\n1,1,200.5\n", "Line 2"),
        ("calls.csv", "at,seconds,error,key\n1,1,true," + "k" * 300, "at most 256 characters"),
        ("calls.jsonl", "[1, 2]", "Line 1 is no JSON object"),
        ("calls.jsonl", "nonsense", "Line 1 is no JSON"),
        ("calls.jsonl", "[" * 60_000, "Line 1 is no JSON"),
        ("calls.jsonl", "null", "Line 1 is no JSON object"),
        ("calls.jsonl", '{"at": NaN, "seconds": 1, "error": true}', "Line 1 is no JSON"),
        ("calls.jsonl", '{"at": 1e999, "seconds": 1, "error": true}', "Line 1"),
        ("calls.jsonl", '{"at": ' + "9" * 5000 + ', "seconds": 1, "error": true}', "Line 1"),
        ("calls.jsonl", '{"at": 1, "seconds": true, "error": true}', "True is no number"),
        ("calls.jsonl", '{"at": 1, "seconds": [1], "error": true}', "is no number"),
        ("calls.jsonl", '{"at": null, "seconds": 1, "error": true}', "Line 1"),
        ("calls.jsonl", '{"at": 1, "seconds": 1, "error": "perhaps"}', "neither true nor false"),
        ("calls.jsonl", '{"at": 1, "at": 2, "seconds": 1, "error": true}', "twice"),
        ("calls.jsonl", '{"at": 1, "seconds": 1, "error": true, "key": {}}', "is no text"),
        ("access.log", "hello", "Line 1 is not in the common or combined format"),
        ("access.log", LOG.replace("Mar", "Mrz"), "no time that can be read"),
        ("access.log", LOG.replace(" 0.012", ""), "Line 1 is not in"),
        ("access.log", '1.1.1.1 - - [x] "' + "\\" * 60_000, "Line 1 is not in"),
        ("calls.txt", HEAD, "ends in none of"),
    ],
)
def test_what_is_no_recording_is_refused_with_its_line(tmp_path, name, content, said):
    with pytest.raises(RecordingError, match=said):
        read_recording(written(tmp_path, name, content))


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path):
    with pytest.raises(RecordingError, match=r"nowhere\.csv"):
        read_recording(tmp_path / "nowhere.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(RecordingError, match=r"folder\.csv"):
        read_recording(tmp_path / "folder.csv")


def test_no_more_calls_are_read_than_fit(tmp_path, monkeypatch):
    monkeypatch.setattr(recordings, "MOST_CALLS", 3)
    with pytest.raises(RecordingError, match="more than 3 calls"):
        read_recording(written(tmp_path, "calls.csv", CSV))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["a.csv", "a.jsonl", "a.log"]), st.one_of(st.binary(max_size=300), st.text(max_size=300)))
def test_whatever_a_file_holds_it_is_read_or_refused(tmp_path_factory, name, content):
    path = written(
        tmp_path_factory.mktemp("any"),
        name,
        content if isinstance(content, bytes) else content.encode("utf-8", "replace"),
    )
    try:
        read = read_recording(path)
    except RecordingError:
        return
    assert all(math.isfinite(at) and at >= 0.0 for at in read.at)


rows = st.lists(
    st.tuples(
        st.floats(0.0, 1e6), st.floats(0.0, 100.0), st.booleans(), st.sampled_from(["", "ann", "bob, the 2nd", '"q"'])
    ),
    min_size=2,
    max_size=30,
).filter(lambda calls: max(calls)[0] - min(calls)[0] >= 1.0)


@settings(max_examples=100, deadline=None)
@given(rows)
def test_csv_and_json_lines_of_the_same_calls_are_the_same_recording(tmp_path_factory, calls):
    folder = tmp_path_factory.mktemp("both")
    quoted = [f'{at!r},{took!r},{bad},"{key.replace(chr(34), chr(34) * 2)}"' for at, took, bad, key in calls]
    one = read_recording(written(folder, "a.csv", "\n".join(["at,seconds,error,key", *quoted])))
    lines = [json.dumps({"at": at, "seconds": took, "error": bad, "key": key}) for at, took, bad, key in calls]
    other = read_recording(written(folder, "a.jsonl", "\n".join(lines)))
    assert (one.at, one.seconds, one.bad, one.key, one.keys) == (
        other.at,
        other.seconds,
        other.bad,
        other.key,
        other.keys,
    )
    assert sum(one.bad) == sum(bad for _, _, bad, _ in calls)
