"""Programs of others as methods, by real ones: small Python programs that map a folder to a folder, well or badly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from PIL import Image

from instructrestore.dataengine.running.stage import Failed, StopStage
from instructrestore.pipelines.evaluation.folder import PART_ROWS
from instructrestore.pipelines.evaluation.methods.command import CommandMethod
from instructrestore.pipelines.evaluation.methods.photos import PhotoArray
from instructrestore.pipelines.evaluation.methods.recipe import MOST_PHOTOS, read_recipe
from instructrestore.pipelines.evaluation.methods.restorers import compared_group
from instructrestore.pipelines.evaluation.methods.spec import MethodSpec
from instructrestore.pipelines.pictures.restored_photo import read_record
from instructrestore.shards.pairs import TestSet
from tests.pipelines.evaluation.small_photos import as_photo, small_photo
from tests.pipelines.evaluation.small_testset import DARKER, evaluated_by, write_testset

ROOT = Path(__file__).resolve().parents[3]
# Makes photos lighter again; notes each in a file beside itself. What follows its name changes what it does.
PROGRAM = """
import os, pathlib, sys, time
import numpy as np
from PIL import Image
lq, out, what = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3:]
here = pathlib.Path(__file__).parent
for file in sorted(lq.iterdir()):
    rgb = np.asarray(Image.open(file)) + np.uint8(30)
    with (here / "log").open("a") as log:
        print(file.name, *rgb.shape[:2], *what, file=log)
    if "sleep at second" in what and len((here / "log").read_text().splitlines()) == 2:
        (here / "pid").write_text(str(os.getpid()))
        time.sleep(300)
    if "fail at dark" in what and rgb.mean() < 60:
        sys.exit("Traceback\\nRuntimeError: out of memory")
    if "large" in what:
        rgb = rgb.repeat(2, axis=0)
    if "enlarge" in what:
        rgb = rgb.repeat(4, axis=0).repeat(4, axis=1)
    if "none" not in what:
        Image.fromarray(rgb).save(out / file.name)
"""


def recipe_in(folder: Path, *what: str, **changes: Any) -> str:
    """The file of a recipe whose program lies in methods/program."""
    program = folder / "methods" / "program"
    program.mkdir(parents=True, exist_ok=True)
    (program / "program.py").write_text(PROGRAM)
    values = {
        "name": "Lighter",
        "directory": "program",
        "python": sys.executable,
        "command": ["{python}", "program.py", "{lq}", "{out}", *what],
        "result": "{key}.png",
        "timeout_s": 60.0,
    }
    (folder / "recipe.toml").write_text(tomli_w.dumps(values | changes))
    return str(folder / "recipe.toml")


def method(folder: Path, *what: str, **changes: Any) -> CommandMethod:
    return CommandMethod(read_recipe(recipe_in(folder, *what, **changes)), folder / "methods", 7, None)


def log_of(folder: Path) -> list[str]:
    file = folder / "methods" / "program" / "log"
    return file.read_text().splitlines() if file.exists() else []


def photos(*brightness: int) -> list[PhotoArray]:
    return [np.full((32, 48, 3), level, np.uint8) for level in brightness]


def failure(result: Any) -> str:
    assert isinstance(result, Failed) and "\n" not in result.error
    return result.error


def test_a_program_gets_photos_in_a_folder_and_its_results_are_taken(tmp_path: Path) -> None:
    results = method(tmp_path, "{seed}")(photos(50, 90), [1, 2])
    assert [int(each.mean()) for each in results if isinstance(each, np.ndarray)] == [80, 120]
    assert log_of(tmp_path) == ["photo-000.png 32 48 7", "photo-001.png 32 48 7"]


def test_a_program_that_enlarges_by_4_gets_small_photos(tmp_path: Path) -> None:
    (result,) = method(tmp_path, "enlarge", lq="small")(photos(50), [1])
    assert isinstance(result, np.ndarray) and result.shape == (32, 48, 3)
    assert log_of(tmp_path)[0].startswith("photo-000.png 8 12")


def test_of_a_call_that_fails_what_is_there_is_taken_and_the_rest_tried_alone(tmp_path: Path) -> None:
    results = method(tmp_path, "fail at dark")(photos(90, 10, 100), [1, 2, 3])
    assert [isinstance(each, Failed) for each in results] == [False, True, False]
    assert failure(results[1]) == "Lighter ended with exit status 1: RuntimeError: out of memory"
    assert [line.split()[0] for line in log_of(tmp_path)] == ["photo-000.png", "photo-001.png"] + ["photo-000.png"] * 2


def test_what_a_program_does_not_write_or_writes_wrongly_is_a_sentence(tmp_path: Path) -> None:
    assert failure(method(tmp_path, "none")(photos(50), [1])[0]) == "Lighter ended well but wrote no {key}.png"
    larger = method(tmp_path, "large")(photos(50), [1])[0]
    assert failure(larger) == "a result of Lighter is 48x64 and its HQ photo 48x32"
    code = "import pathlib, sys; pathlib.Path(sys.argv[1], 'photo-000.png').write_bytes(b'x')"
    damaged = method(tmp_path, command=["{python}", "-c", code, "{out}", "{lq}"])(photos(50), [1])[0]
    assert failure(damaged) == "a result of Lighter is unusable: not a photo"


def test_a_program_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    code = (
        "import pathlib, subprocess, sys\n"
        "child = subprocess.Popen(['sleep', '300'])\n"
        f"pathlib.Path({str(tmp_path)!r}, 'child').write_text(str(child.pid))\n"
        "print('waiting', sys.argv[1:] and '', file=sys.stderr, flush=True)\n"
        "child.wait()"
    )
    began = time.monotonic()
    hangs = method(tmp_path, command=["{python}", "-c", code, "{lq}", "{out}"], timeout_s=2.0)(photos(50), [1])
    assert time.monotonic() - began < 30
    assert failure(hangs[0]) == "Lighter took longer than 2 s (timeout_s): waiting"
    assert gone(int((tmp_path / "child").read_text()))


def gone(pid: int) -> bool:
    """Whether a process ends within 20 s."""
    for _ in range(200):
        state = Path(f"/proc/{pid}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.1)
    return False


def test_a_program_that_never_gives_anything_stops_the_run(tmp_path: Path) -> None:
    fails = method(tmp_path, "fail at dark")
    for _ in range(2):
        failure(fails(photos(10), [1])[0])
    assert isinstance(fails(photos(90), [1])[0], np.ndarray)  # which ends the row of failures
    for _ in range(2):
        failure(fails(photos(10), [1])[0])
    with pytest.raises(StopStage, match=r"3 calls in a row gave no result, .* because .*out of memory; put that right"):
        fails(photos(10), [1])


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    Image.fromarray(as_photo(small_photo(32, 48))).save(tmp_path / "secret.png")
    code = f"import os, sys; os.symlink({str(tmp_path / 'secret.png')!r}, sys.argv[1] + '/photo-000.png')"
    (result,) = method(tmp_path, command=["{python}", "-c", code, "{out}", "{lq}"])(photos(50), [1])
    assert failure(result) == "Lighter put a result out of its folder"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("os.mkfifo(file)", "a result of Lighter is no regular file"),
        ("os.mkfifo(file + '.x'); os.symlink(file + '.x', file)", "a result of Lighter is no regular file"),
        ("os.mkdir(file)", "a result of Lighter cannot be read: Is a directory"),
        ("os.chdir(os.path.dirname(file)); socket.socket(socket.AF_UNIX).bind('photo-000.png')", "cannot be read: "),
        ("os.symlink(file, file)", "a result of Lighter cannot be read: Too many levels of symbolic links"),
        ("os.symlink('/dev/zero', file)", "Lighter put a result out of its folder"),
        (
            "open(file, 'wb').truncate(1 << 40)",
            "is a file of more than 1073152 bytes, which no photo of its size needs",
        ),
    ],
)
def test_what_is_no_photo_s_file_is_not_read(code: str, expected: str, tmp_path: Path) -> None:
    code = f"import os, socket, sys; file = sys.argv[1] + '/photo-000.png'; {code}"
    began = time.monotonic()
    (result,) = method(tmp_path, command=["{python}", "-c", code, "{out}", "{lq}"], timeout_s=20.0)(photos(50), [1])
    assert expected in failure(result) and time.monotonic() - began < 15


def test_of_what_a_program_prints_the_end_is_read(tmp_path: Path) -> None:
    """Even of a file of 1 TiB, whose name the program then gives to a FIFO."""
    code = (
        "import os, pathlib, sys\n"
        "log = pathlib.Path(sys.argv[1]).parent / 'log'\n"
        "os.truncate(log, 1 << 40)\n"
        "os.lseek(2, 0, 2)\n"
        "print('the end', file=sys.stderr, flush=True)\n"
        "log.unlink(); os.mkfifo(log)\n"
        "sys.exit(1)"
    )
    (result,) = method(tmp_path, command=["{python}", "-c", code, "{out}", "{lq}"], timeout_s=20.0)(photos(50), [1])
    assert failure(result) == "Lighter ended with exit status 1: the end"


def test_no_shell_sees_the_words(tmp_path: Path) -> None:
    words = ["$(touch x)", "; touch x", "a b", ""]
    method(tmp_path, *words)(photos(50), [1])
    assert log_of(tmp_path) == [f"photo-000.png 32 48 {' '.join(words)}"]
    assert not (tmp_path / "methods" / "program" / "x").exists()


def test_the_environment_is_the_recipe_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/of/this/program")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    code = "import json, os, sys; json.dump(dict(os.environ), open('env.json', 'w'))"
    file = recipe_in(tmp_path, command=["{python}", "-c", code, "{out}", "{lq}"], environment={"OF_RECIPE": "1"})
    for device, shown in ((None, "4,5"), ("cuda", "4,5"), ("cuda:1", "5"), ("cpu", "")):
        CommandMethod(read_recipe(file), tmp_path / "methods", 0, device)(photos(50), [1])
        seen = json.loads((tmp_path / "methods" / "program" / "env.json").read_text())
        assert seen["CUDA_VISIBLE_DEVICES"] == shown and seen["OF_RECIPE"] == "1" and "PYTHONPATH" not in seen


# In an evaluation


@pytest.fixture(scope="module")
def testset(tmp_path_factory: pytest.TempPathFactory) -> TestSet:
    return write_testset(tmp_path_factory.mktemp("set"), [(48, 64)] * 3 + [(64, 48)])


def group(folder: Path, file: str, seed: int = 3) -> Any:
    return compared_group(MethodSpec("command", file), "cpu", seed, folder / "methods")


def test_results_are_measured_recorded_and_kept(testset: TestSet, tmp_path: Path) -> None:
    assert DARKER == 30  # as PROGRAM makes up for it
    file = recipe_in(tmp_path, "{seed}", photos_per_call=4, licence="MIT")
    evaluated, said = evaluated_by(testset, tmp_path / "out", groups=[group(tmp_path, file)])
    full = evaluated.scores[(evaluated.scores["method"] == "Lighter") & (evaluated.scores["scope"] == "full")]
    assert list(full["value"]) == [100.0] * 4 and "failed 0" in said
    assert len(log_of(tmp_path)) == 4  # two calls, one for each size
    record = read_record(next((tmp_path / "out/results/Lighter").glob("*.png")))["run"]
    assert record["name"] == "Lighter" and record["seed"] == 3 and len(record["recipe"]) > 7
    assert str(tmp_path) not in json.dumps(record) and record["revision"] is None
    evaluated_by(testset, tmp_path / "out", groups=[group(tmp_path, file)])
    recipe_in(tmp_path, "{seed}", photos_per_call=4, licence="BSD", timeout_s=70.0)
    evaluated_by(testset, tmp_path / "out", groups=[group(tmp_path, file)])
    assert len(log_of(tmp_path)) == 4  # nothing is made again
    recipe_in(tmp_path, "{seed}", "other", photos_per_call=4)
    evaluated_by(testset, tmp_path / "out", groups=[group(tmp_path, file)])
    assert len(log_of(tmp_path)) == 8


def test_a_photo_that_fails_is_counted_and_can_be_tried_again(testset: TestSet, tmp_path: Path) -> None:
    file = recipe_in(tmp_path, "large")
    lasting = {"out": tmp_path / "out", "groups": [group(tmp_path, file)]}
    with pytest.raises(StopStage, match=r"3 calls in a row .*a result of Lighter is 48x128 and its HQ photo 48x64"):
        evaluated_by(testset, **lasting)
    evaluated, said = evaluated_by(testset, **lasting, limit=2)
    assert evaluated.failed == {"Lighter": {"a result of Lighter is 48x128 and its HQ photo 48x64": 2}}
    assert "input 4 = scored 2 + failed 2" in said


def test_killed_and_gone_on_with(testset: TestSet, tmp_path: Path) -> None:
    """The second photo's call hangs and evaluate is killed: the program goes too, and nothing is made twice."""
    file = recipe_in(tmp_path, "sleep at second")
    program = tmp_path / "methods" / "program"
    asked = ["--run", f"command={file}", "--metrics", "psnr", "--methods-dir", str(tmp_path / "methods")]
    words = [sys.executable, "-m", "instructrestore", "evaluate", testset.path, *asked, "--out", str(tmp_path / "out")]
    own = os.environ | {"TMPDIR": str(tmp_path)}  # where a kill leaves the call's folder
    process = subprocess.Popen(words, cwd=ROOT, env=own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            if (program / "pid").exists() and (program / "pid").read_text():
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    assert gone(int((program / "pid").read_text()))
    assert len(log_of(tmp_path)) == 2
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert len(log_of(tmp_path)) == 2 + 3  # the first photo's result was kept
    assert len(list((tmp_path / "out/results/Lighter").glob("*.png"))) == 4


def test_a_call_is_a_part_at_the_most() -> None:
    assert MOST_PHOTOS == PART_ROWS
