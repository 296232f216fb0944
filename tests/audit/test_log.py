"""The log on disk: what was acknowledged is there and unchanged, or audit does not start."""

import errno
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.audit import log as log_module
from appliance.audit.log import AuditLog
from appliance.contracts.audit import Append
from appliance.core.errors import Tampered, Unavailable

PATIENTS = [f"{number:032x}" for number in range(1, 4)]


def fill(folder, count, start=0):
    log = AuditLog(folder)
    for number in range(start, start + count):
        log.append(
            [("records", Append(action="document_read", patient=PATIENTS[number % 3]))], 1_700_000_000 + number
        )
    head = log.head
    log.close()
    return head


def reopen(folder):
    log = AuditLog(folder)
    log.close()
    return log


def test_entries_survive_a_restart(tmp_path):
    head = fill(tmp_path, 7)
    log = AuditLog(tmp_path)
    assert (log.size, log.head) == (7, head)
    assert [entry.index for entry in log.read(None, None, 3)] == [6, 5, 4]
    assert [entry.index for entry in log.read(4, None, 200)] == [3, 2, 1, 0]
    assert log.read(0, None, 5) == log.read(-3, None, 5) == []
    log.close()


def test_a_patients_entries_are_found_newest_first(tmp_path, monkeypatch):
    monkeypatch.setattr(log_module, "SEARCHED_ENTRIES", 4)
    fill(tmp_path, 20)
    log = AuditLog(tmp_path)
    assert [entry.index for entry in log.read(None, PATIENTS[1], 4)] == [19, 16, 13, 10]
    assert [entry.index for entry in log.read(10, PATIENTS[1], 9)] == [7, 4, 1]
    assert log.read(None, "f" * 32, 9) == []
    log.close()


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_any_change_to_an_acknowledged_entry_is_found(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("log")
    fill(folder, 5)
    path = folder / "log"
    lines = path.read_bytes().splitlines(keepends=True)
    before = list(lines)
    place = data.draw(st.integers(0, 5), "line")  # 0 is the header; 5 the newest entry
    change = data.draw(
        st.sampled_from(["edit", "delete", "swap", "repeat", "truncate", "cut_line", "insert"]), "change"
    )
    if change == "edit":
        line = bytearray(lines[place])
        line[data.draw(st.integers(0, len(line) - 1))] ^= data.draw(st.integers(1, 255))
        lines[place] = bytes(line)
    elif change == "delete":
        del lines[place]
    elif change == "swap":
        other = data.draw(st.integers(0, 5).filter(lambda number: number != place))
        lines[place], lines[other] = lines[other], lines[place]
    elif change == "repeat":
        lines.insert(data.draw(st.integers(0, min(place, 4))), lines[place])
    elif change == "truncate":
        del lines[place:]
    elif change == "cut_line":
        lines[place:] = [lines[place][: data.draw(st.integers(0, len(lines[place]) - 1))]]
    else:
        lines.insert(place, b"{}\n")
    if lines == before:
        return
    path.write_bytes(b"".join(lines))
    with pytest.raises(Tampered):
        AuditLog(folder)


def test_an_older_copy_of_the_log_is_found(tmp_path):
    fill(tmp_path, 3)
    old = (tmp_path / "log").read_bytes()
    fill(tmp_path, 2, start=3)
    (tmp_path / "log").write_bytes(old)
    with pytest.raises(Tampered):
        AuditLog(tmp_path)


def test_another_logs_file_is_found(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        fill(tmp_path / name, 3)
    (tmp_path / "one/log").write_bytes((tmp_path / "two/log").read_bytes())
    with pytest.raises(Tampered):
        AuditLog(tmp_path / "one")


@pytest.mark.parametrize("missing", ["mark", "log"])
def test_a_lost_file_does_not_start_a_new_log(tmp_path, missing):
    fill(tmp_path, 3)
    (tmp_path / missing).unlink()
    with pytest.raises(Tampered):
        AuditLog(tmp_path)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_torn_unacknowledged_write_is_cut_and_nothing_acknowledged_is_lost(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("log")
    head = fill(folder, 4)
    mark = (folder / "mark").read_bytes()
    fill(folder, 3, start=4)
    whole = (folder / "log").read_bytes()
    acknowledged = sum(len(line) for line in whole.splitlines(keepends=True)[:5])
    end = data.draw(st.integers(acknowledged, len(whole)), "end")
    garbage = data.draw(st.one_of(st.just(b""), st.just(bytes(300)), st.binary(max_size=300)), "garbage")
    (folder / "log").write_bytes(whole[:end] + garbage)
    (folder / "mark").write_bytes(mark)
    log = AuditLog(folder)
    kept = whole[:end].count(b"\n") - 1
    assert log.size == kept
    assert kept > 4 or log.head == head
    log.append([("records", Append(action="document_read"))], 1_800_000_000)
    log.close()
    assert reopen(folder).size == kept + 1


def test_a_full_disk_leaves_nothing_of_an_entry(tmp_path, monkeypatch):
    fill(tmp_path, 2)
    log = AuditLog(tmp_path)
    write = os.write

    def write_half(descriptor, data):
        monkeypatch.setattr(os, "write", fail)
        return write(descriptor, data[: len(data) // 2])

    def fail(descriptor, data):
        raise OSError(errno.ENOSPC, "")

    monkeypatch.setattr(os, "write", write_half)
    with pytest.raises(Unavailable, match="disk_full"):
        log.append([("records", Append(action="document_read"))], 1_800_000_000)
    monkeypatch.undo()
    assert log.size == 2
    log.append([("records", Append(action="document_read"))], 1_800_000_000)
    log.close()
    assert reopen(tmp_path).size == 3
