from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noodle_upgrade_cli.failures import ProtocolError
from noodle_upgrade_cli.streaming import split

payloads = st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=3)


@settings(deadline=None)
@given(
    st.lists(payloads, max_size=6),
    st.lists(st.integers(1, 40), min_size=1, max_size=8),
    st.sampled_from(["\n", "\r\n"]),
)
def test_events_are_the_same_however_the_bytes_are_cut(datas, cuts, end):
    text = "".join(f"id: {n}{end}event: k{end}data: {json.dumps(d)}{end}{end}" for n, d in enumerate(datas, 1))
    raw, chunks, position = text.encode(), [], 0
    while position < len(raw):
        size = cuts[len(chunks) % len(cuts)]
        chunks.append(raw[position : position + size])
        position += size
    seen = [event for event in split(chunks) if event is not None]
    assert [event.data for event in seen] == datas
    assert [event.sequence for event in seen] == list(range(1, len(datas) + 1))


@settings(deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=6))
def test_any_bytes_give_events_or_a_protocol_error(chunks):
    with contextlib.suppress(ProtocolError):
        list(split(chunks))


def test_a_heartbeat_is_none_and_an_event_that_is_cut_off_is_dropped():
    assert list(split([b": alive\n\n", b'id: 1\ndata: {"a": 1}\n'])) == [None]


def test_data_of_several_lines_is_one_text():
    (event,) = split([b'data: {"a":\ndata: 1}\n\n'])
    assert event is not None
    assert (event.data, event.sequence, event.kind) == ({"a": 1}, 0, "")


@pytest.mark.parametrize("raw", [b"data: [1]\n\n", b"data: x\n\n", b"data: " + b"[" * 100_000 + b"\n\n"])
def test_data_that_is_no_object_is_refused(raw):
    with pytest.raises(ProtocolError):
        list(split([raw]))


def test_an_endless_line_is_refused_before_it_fills_the_memory():
    with pytest.raises(ProtocolError):
        list(split(b"x" * (1 << 20) for _ in range(100)))


def test_an_endless_event_is_refused_before_it_fills_the_memory():
    with pytest.raises(ProtocolError):
        list(split(b"data: " + b"x" * 1000 + b"\n" for _ in range(100_000)))


def test_a_sequence_number_that_is_none_is_zero():
    assert [e.sequence for e in split(["id: ٣\ndata: {}\n\nid: -1\ndata: {}\n\n".encode()]) if e] == [0, 0]
