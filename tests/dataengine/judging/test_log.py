from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from instructrestore.dataengine.judging.judgement import MAX_LINE_BYTES, Accept, to_line
from instructrestore.dataengine.judging.log import JudgementLog, LogEntry, log_path, standing
from instructrestore.shards.errors import DamagedFile
from tests.dataengine.judging.judgements import KEY, judged

WRITER = """
import sys
from pathlib import Path
from instructrestore.dataengine.judging.log import JudgementLog
from tests.dataengine.judging.judgements import judged
log = JudgementLog(Path(sys.argv[1]))
for number in range(int(sys.argv[3])):
    at = log.append(judged("accept", f"{number:016x}", who=sys.argv[2]))
    print(at, flush=True)
"""


def write(path: Path, who: str, times: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), who, str(times)], stdout=subprocess.PIPE, text=True
    )


def test_lies_beside_the_data_set(tmp_path: Path) -> None:
    assert log_path(f"{tmp_path}/run/dataset/") == tmp_path / "run" / "dataset.judgements.jsonl"
    with pytest.raises(ValueError, match="copy it here"):
        log_path("s3://bucket/run/dataset")


def test_numbers_judgements_from_1_and_gives_them_back(tmp_path: Path) -> None:
    log = JudgementLog(tmp_path / "log")
    assert log.entries() == ()
    said = [judged("accept", f"{number:016x}") for number in range(3)]
    assert [log.append(each) for each in said] == [1, 2, 3]
    for reader in (log, JudgementLog(tmp_path / "log")):
        assert [entry.number for entry in reader.entries()] == [1, 2, 3]
        assert [entry.judgement for entry in reader.entries()] == said


def test_what_no_reader_would_take_is_not_written(tmp_path: Path) -> None:
    log = JudgementLog(tmp_path / "log")
    with pytest.raises(ValueError, match="who"):
        log.append(Accept(when="2026-01-31T12:00:00Z", who="", dataset="0" * 64, key=KEY, region="b" * 16))
    assert not (tmp_path / "log").exists()


def test_every_beginning_of_a_line_is_passed_over_and_closed(tmp_path: Path) -> None:
    first, second, third = (to_line(judged("accept", f"{number:016x}")) for number in range(3))
    for cut in range(len(second)):
        path = tmp_path / f"{cut}"
        path.write_bytes(first + second[:cut])
        log = JudgementLog(path)
        assert len(log.entries()) == 1
        assert log.append(judged("accept", f"{2:016x}")) == 2
        assert path.read_bytes() == first + third
        assert len(log.entries()) == 2


def test_a_damaged_line_is_named_and_passed_over_once_it_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "log"
    lines = [to_line(judged("accept", f"{number:016x}")) for number in range(3)]
    path.write_bytes(lines[0] + lines[1].replace(b'"key"', b'"k\xffy"') + lines[2])
    log = JudgementLog(path)
    with pytest.raises(DamagedFile, match=r"line 2 of .*log is damaged"):
        log.entries()
    with pytest.raises(DamagedFile, match="line 2"):
        log.append(judged("accept", "b" * 16))
    path.write_bytes(lines[0] + b"\n" + lines[2])
    assert [entry.number for entry in log.entries()] == [1, 3]
    assert log.append(judged("accept", "b" * 16)) == 4


def test_a_log_that_was_put_back_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = JudgementLog(path)
    for number in range(3):
        log.append(judged("accept", f"{number:016x}"))
    kept = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(kept[0])
    assert len(log.entries()) == 1
    path.unlink()
    assert log.entries() == ()


def test_a_judgement_is_taken_back_and_given_again(tmp_path: Path) -> None:
    log = JudgementLog(tmp_path / "log")
    log.append(judged("reject", "b" * 16))
    log.append(judged("accept", "c" * 16))
    log.append(judged("undo", of=1))
    assert [entry.number for entry in standing(log.entries())] == [2]
    log.append(judged("undo", of=3))
    assert [entry.number for entry in standing(log.entries())] == [1, 2]
    for wrong in (judged("undo", of=9), judged("undo", of=1, key="b" * 20)):
        with pytest.raises(ValueError, match="could be undone"):
            log.append(wrong)


def test_two_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writers = [write(path, who, 100) for who in ("Ann", "Ben")]
    numbers = [[int(line) for line in writer.communicate(timeout=60)[0].split()] for writer in writers]
    assert sorted(numbers[0] + numbers[1]) == list(range(1, 201))
    by_number = {entry.number: entry.judgement for entry in JudgementLog(path).entries()}
    for who, said in zip(("Ann", "Ben"), numbers, strict=True):
        assert [(by_number[at].who, by_number[at].region) for at in said] == [(who, f"{n:016x}") for n in range(100)]


def test_a_killed_writer_loses_nothing_that_it_said_was_written(tmp_path: Path) -> None:
    path = tmp_path / "log"
    said = 0
    for attempt in range(3):
        writer = write(path, f"Ann {attempt}", 1_000_000)
        assert writer.stdout is not None
        for _ in range(20):
            said = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        rest = writer.stdout.read().split()
        writer.wait(timeout=60)
        said = int(rest[-1]) if rest else said
        entries = JudgementLog(path).entries()
        assert [entry.number for entry in entries] == list(range(1, len(entries) + 1))
        assert said <= len(entries) <= said + 1
    assert JudgementLog(path).append(judged("accept", "b" * 16)) in (said + 1, said + 2)


def test_what_is_no_file_is_said_to_be_none_and_not_waited_for(tmp_path: Path) -> None:
    pipe, folder = tmp_path / "pipe", tmp_path / "folder"
    os.mkfifo(pipe)
    folder.mkdir()
    for path in (pipe, folder):
        with pytest.raises((ValueError, OSError), match=r"no file|directory"):
            JudgementLog(path).entries()
        with pytest.raises((ValueError, OSError), match=r"no file|directory"):
            JudgementLog(path).append(judged("accept", "0" * 16))


def test_an_editor_may_have_saved_it_with_its_own_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "log"
    lines = [to_line(judged("accept", f"{number:016x}")).rstrip() for number in range(2)]
    path.write_bytes(b"\r\n".join([lines[0], b"", lines[1], b""]))
    assert [entry.number for entry in JudgementLog(path).entries()] == [1, 3]


def test_what_a_check_refuses_is_not_in_the_log(tmp_path: Path) -> None:
    path = tmp_path / "log"
    JudgementLog(path).append(judged("accept", "0" * 16))
    seen = []

    def check(entries: Sequence[LogEntry]) -> None:
        seen.append(len(entries))
        raise ValueError("not now")

    before = path.read_bytes()
    with pytest.raises(ValueError, match="not now"):
        JudgementLog(path).append(judged("reject", "0" * 16), check)
    assert seen == [1] and path.read_bytes() == before


def test_a_full_disk_leaves_the_log_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = JudgementLog(path)
    log.append(judged("accept", "0" * 16))
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, hard))  # in the middle of the next line
    try:
        with pytest.raises(OSError, match=r"space|too large"):
            log.append(judged("reject", "0" * 16))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert log.append(judged("reject", "0" * 16)) == 2


_SOUND = to_line(judged("accept", "0" * 16)).rstrip()
_PARTS = json.loads(_SOUND)
HOSTILE_LINES = {
    "no end": b"a" * (MAX_LINE_BYTES + 2),
    "very long": b'{"act": "' + b"a" * (MAX_LINE_BYTES + 1) + b'"}',
    "deep": b'{"act":' + b"[" * 100_000,
    "deep and closed": b'{"act":' + b"[" * 5000 + b"]" * 5000 + b"}",
    "a mark of byte order": b"\xef\xbb\xbf" + _SOUND,
    "UTF-16": _SOUND.decode().encode("utf-16"),
    "Latin-1": json.dumps(_PARTS | {"who": "Ren\u00e9"}, ensure_ascii=False).encode("latin-1"),
    "nothing but zeros": b"\0" * 4096,
    "a list": b"[]",
    "a number": b"1e999",
    "twice": _SOUND[:-1] + b', "act": "reject"}',
    "a foreign name": json.dumps(_PARTS | {"__class__": "os.system"}).encode(),
    "a foreign photo": json.dumps(_PARTS | {"key": "../../../etc/passwd"}).encode(),
    "a foreign region": json.dumps(_PARTS | {"region": "0" * 16 + "\n"}).encode(),
    "an act that is a list": json.dumps(_PARTS | {"act": ["accept"]}).encode(),
    "a name that is a number": json.dumps(_PARTS | {"who": 7}).encode(),
    "a name that acts": json.dumps(_PARTS | {"who": "\x1b[2JAnn"}).encode(),
    "half a character": json.dumps(_PARTS | {"who": "\ud800"}).encode(),
    "a time of nowhere": json.dumps(_PARTS | {"when": "9999-99-99T99:99:99Z"}).encode(),
    "a huge number": json.dumps(_PARTS | {"act": "undo", "region": ""})[:-1].encode()
    + b', "of": '
    + b"9" * 5000
    + b"}",
    "a mask of nobody's size": json.dumps(
        _PARTS | {"act": "mask", "mask": {"size": [2**31, 2**31], "counts": "0"}}
    ).encode(),
    "a mask of lies": json.dumps(_PARTS | {"act": "mask", "mask": {"size": [64, 64], "counts": "o" * 9999}}).encode(),
}


@pytest.mark.parametrize("name", HOSTILE_LINES)
def test_a_hostile_line_is_named_in_one_sentence(tmp_path: Path, name: str) -> None:
    path = tmp_path / "log"
    path.write_bytes(_SOUND + b"\n" + HOSTILE_LINES[name] + (b"" if name == "no end" else b"\n"))
    with pytest.raises(DamagedFile, match=r"^line 2 of ") as found:
        JudgementLog(path).entries()
    assert len(str(found.value)) < 700 + len(str(path)) and "\n" not in str(found.value)
    with pytest.raises(DamagedFile):  # and nothing is added after what cannot be read
        JudgementLog(path).append(judged("accept", "0" * 16))
