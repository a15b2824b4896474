"""From the words of a command line to jobs: what is found, what it is called, and what a mistake is answered with."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from instructrestore.model.instruction.instruction import Instruction, RegionScale
from instructrestore.model.restoring.settings import SamplingSettings
from instructrestore.pipelines.inference.options import OPTIONS, parse_places, parse_sweep, sampling_settings
from instructrestore.pipelines.inference.photo_job import PhotoJob, stems
from instructrestore.pipelines.pictures.restored_photo import to_png
from instructrestore.pipelines.restoration.inputs import find_jobs
from instructrestore.pipelines.restoration.mask_files import AskedMasks
from instructrestore.shards.plain_text import visible_line

DOG = "make the dog clear with 0.6, and make other parts with 1"
PARSED = Instruction((RegionScale("the dog", 0.6),))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"\xff\xd8\xff and no more")


def found(*words: str, out: str = "out") -> dict[str, str]:
    return {job.name: job.stem for job in find_jobs([*words, DOG], Path(out))}


def test_files_and_folders_in_order() -> None:
    touch("b.jpg", "p/z.png", "p/a/2.jpg", "p/a/1.webp", "p/.hidden.jpg", "p/.hidden/x.jpg", "p/notes.txt.jpeg")
    Path("p/notes.txt").write_text("no photo")
    jobs = find_jobs(["b.jpg", "p", DOG], Path("out"), seed=7)
    assert [(job.name, job.stem) for job in jobs] == [
        ("b.jpg", "b"),
        ("p/notes.txt.jpeg", "notes.txt"),
        ("p/z.png", "z"),
        ("p/a/1.webp", "a/1"),
        ("p/a/2.jpg", "a/2"),
    ]
    assert all(job.instruction == PARSED and job.seed == 7 and not job.problem for job in jobs)
    assert all(job.photo.read_bytes() for job in jobs)


def test_a_photo_named_twice_is_one_job() -> None:
    touch("p/a.jpg")
    assert found("p/a.jpg", "p", "p/../p/a.jpg") == {"p/a.jpg": "a"}


def test_earlier_results_in_the_folder_are_no_photos() -> None:
    touch("p/a.jpg", "p/out/a.png", "p/outer/b.jpg")
    assert found("p", out="p/out") == {"p/a.jpg": "a", "p/outer/b.jpg": "outer/b"}
    assert found("p/outer", out=".") == {"p/outer/b.jpg": "b"}, "the photos may lie in the results' folder"


def test_one_stem_is_told_apart_by_folders_then_by_numbers() -> None:
    touch("x/1/a.jpg", "x/2/a.jpg", "b.jpg", "b.png", "B.webp", "b_2.jpg")
    assert found("x/1/a.jpg", "x/2/a.jpg") == {"x/1/a.jpg": "1/a", "x/2/a.jpg": "2/a"}
    assert found("x/1", "x/2") == {"x/1/a.jpg": "1/a", "x/2/a.jpg": "2/a"}
    assert found("b.jpg", "b.png", "b_2.jpg") == {"b.jpg": "b", "b.png": "b_3", "b_2.jpg": "b_2"}
    names = found("b.jpg", "b.png", "B.webp")
    assert len({stem.casefold() for stem in names.values()}) == 3
    assert found("b.jpg", "b.png", "B.webp") == names


def test_no_result_takes_the_name_of_anothers_mask() -> None:
    touch("dog.jpg", "dog-mask.jpg", "dog-mask-2.jpg", "cat-mask.jpg", "dog-compare.png")
    names = found("dog.jpg", "dog-mask.jpg", "dog-mask-2.jpg", "cat-mask.jpg", "dog-compare.png")
    assert names["dog.jpg"] == "dog"
    assert names["cat-mask.jpg"] == "cat-mask", "there is no cat.jpg"
    assert names["dog-mask.jpg"] == "dog-mask_2"
    assert names["dog-mask-2.jpg"] == "dog-mask-2_2"
    assert names["dog-compare.png"] == "dog-compare_2"


@given(
    st.lists(
        st.builds(
            "{}{}{}{}.{}".format,
            st.sampled_from(["", "p/", "q/", "q/p/"]),
            st.sampled_from("aAb"),
            st.sampled_from(["", "_2", "_3"]),
            st.sampled_from(["", "-mask", "-mask-1", "-sweep", "_2"]),
            st.sampled_from(["jpg", "png"]),
        ),
        min_size=1,
        max_size=12,
    )
)
@example(["a.jpg", "a.jpg", "a_2-mask.jpg"])
def test_all_files_of_all_jobs_differ_and_stay_inside(paths: list[str]) -> None:
    jobs = [PhotoJob(Path(path), path, Path(path).stem, PARSED, 0) for path in paths]
    chosen = stems(jobs)
    assert chosen == stems(jobs)
    endings = ("", "-mask", "-compare", "-sweep", "-mask-1", "-mask-2")
    files = {f"{stem}{ending}".casefold() for stem in chosen for ending in endings}
    assert len(files) == len(paths) * len(endings)
    assert not any(os.path.isabs(name) or ".." in Path(name).parts for name in files)


def write_csv(text: str, name: str = "list.csv") -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


def test_a_csv_of_photos_and_instructions() -> None:
    touch("d/a.jpg", "d/b.jpg")
    write_csv(
        "\ufeffPhoto, instruction ,mask,seed\r\n"
        'a.jpg,"make the cat clear with 0.5, make the dog clear, and keep other parts clear",m1.png;m2.png,12\r\n'
        "\r\n"
        "b.jpg,,,\r\n"
        "a.jpg,make the bird clear\r\n",
        "d/list.csv",
    )
    jobs = find_jobs(["d/list.csv", DOG], Path("out"), seed=3)
    assert [(job.name, job.stem, job.seed) for job in jobs] == [
        ("a.jpg (list.csv line 2)", "a", 12),
        ("b.jpg (list.csv line 4)", "b", 3),
        ("a.jpg (list.csv line 5)", "a_2", 3),
    ]
    assert [job.photo for job in jobs] == [Path("d/a.jpg"), Path("d/b.jpg"), Path("d/a.jpg")]
    assert [job.instruction and job.instruction.captions for job in jobs] == [
        ("the cat", "the dog"),
        ("the dog",),
        ("the bird",),
    ]
    assert jobs[0].masks == (Path("d/m1.png"), Path("d/m2.png"))
    assert not any(job.problem for job in jobs)


def test_files_of_a_csv_that_windows_wrote() -> None:
    touch("d/in/a.jpg", "d/in/m.png", "d/é.jpg", "d/e\u0301.jpg", "secret.jpg")
    write_csv("photo,mask\nin\\a.jpg,.\\in\\m.png\n..\\secret.jpg,\n.\\é.jpg,\nin/a.jpg,in\\gone.png\n", "d/list.csv")
    jobs = find_jobs(["d/list.csv", DOG], Path("out"))
    assert (jobs[0].photo, jobs[0].stem, jobs[0].masks) == (Path("d/in/a.jpg"), "a", (Path("d/in/m.png"),))
    assert [job.problem.split(":")[0] for job in jobs] == [
        "",
        "path outside its folder",
        "name that fits several files",
        "",
    ]
    assert jobs[3].masks == (Path("d/in\\gone.png"),)


def test_a_bad_row_is_its_own_problem() -> None:
    write_csv(
        "photo,instruction,seed\n"
        "a.jpg,make the dog clear with 9,\n"
        "b.jpg,make the dog clear,many\n"
        "c.jpg,make the dog clear with 0.6, and make other parts with 1,\n"
        ",make the dog clear,\n"
        "e.jpg,make the dog clear,5\n"
    )
    jobs = find_jobs(["list.csv"], Path("out"))
    names = ["a.jpg (list.csv line 2)", "b.jpg (list.csv line 3)", "c.jpg (list.csv line 4)", "list.csv line 5"]
    assert [job.name for job in jobs] == [*names, "e.jpg (list.csv line 6)"]
    problems = [job.problem for job in jobs]
    assert "from 0 to 4" in problems[0] and "line" not in problems[0]
    assert problems[1] == f"the seed must be a whole number from 0 to {2**63 - 1}, not 'many'"
    assert problems[2] == "it has more cells than columns: put quotes around an instruction that contains commas"
    assert problems[3] == "the row names no photo"
    assert problems[4] == ""


def test_masks_and_a_map_for_one_photo() -> None:
    touch("a.jpg", "m1.png", "m2.png")
    two = "make the cat clear with 0.5, make the dog clear and keep other parts clear"
    (job,) = find_jobs(["a.jpg", two], Path("out"), asked=AskedMasks((Path("m1.png"), Path("m2.png"))))
    assert job.masks == (Path("m1.png"), Path("m2.png"))
    assert job.mask_names() == ["a-mask-1.png", "a-mask-2.png"]
    (job,) = find_jobs(["a.jpg", DOG], Path("out"), asked=AskedMasks(scale_map=Path("m1.png")))
    assert job.scale_map == Path("m1.png")
    assert job.mask_names() == ["a-mask.png"]


MISTAKES: dict[str, tuple[list[str], str]] = {
    "nothing": ([], "name one or more photos and, last and in quotes, the instruction"),
    "no instruction": (["a.jpg"], "the instruction is missing: after a.jpg"),
    "no instruction for several": (["a.jpg", "b.jpg"], "the instruction is missing: after b.jpg"),
    "no instruction for a folder": (["p"], "the instruction is missing: after p"),
    "no photo": ([DOG], "no photo is named before the instruction"),
    "a photo that is not there": (["nowhere.jpg"], "there is no photo or folder nowhere.jpg"),
    "a photo that is not there, with words": (["a.jpg", "nowhere.jpg", DOG], "there is no photo or folder nowhere.jpg"),
    "no quotes": (["a.jpg", "make", "the", "dog", "clear"], "folder make; put quotes around an instruction"),
    "no instruction at all": (["a.jpg", "hello there"], "expected a verb such as 'make'"),
    "scale over the limit": (["a.jpg", "make the dog clear with 5"], "from 0 to 4"),
    "empty folder": (["empty", DOG], "there is no photo in empty"),
    "CSV and photos": (["a.jpg", "good.csv", DOG], "name a CSV alone"),
    "CSV without an instruction": (["bare.csv"], "bare.csv line 2 has no instruction: add one there"),
    "CSV without columns": (["headless.csv", DOG], "must begin with a line that names its columns"),
    "CSV with a misspelt column": (["misspelt.csv", DOG], "misspelt.csv has the column 'sed', which is unknown"),
    "CSV of semicolons": (["semi.csv"], "the columns of semi.csv must be separated by commas, not by ';'"),
    "CSV without rows": (["hollow.csv", DOG], "has no rows"),
    "no CSV": (["text.csv", DOG], "cannot be read as CSV"),
    "an open quote": (["open.csv", DOG], "cannot be read as CSV"),
    "result over a photo": (["q/c.png", DOG], "q/c.png would overwrite q/c.png, an input: choose another --out"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_sentence(name: str) -> None:
    touch("a.jpg", "b.jpg", "p/a.jpg", "q/c.png")
    Path("empty").mkdir()
    write_csv("photo,instruction\na.jpg,make the dog clear\n", "good.csv")
    write_csv("photo,instruction\na.jpg,\n", "bare.csv")
    write_csv("a.jpg,make the dog clear\n", "headless.csv")
    write_csv("photo,instruction,sed\na.jpg,make the dog clear,3\n", "misspelt.csv")
    write_csv("photo;instruction\na.jpg;make the dog clear\n", "semi.csv")
    write_csv("photo,instruction\n", "hollow.csv")
    write_csv('photo,instruction\n"a.jpg,x\n', "open.csv")
    Path("text.csv").write_bytes(b"photo,instruction\n\xff\xfe\x00,\n")
    words, sentence = MISTAKES[name]
    with pytest.raises(ValueError, match=re.escape(sentence)) as raised:
        find_jobs(words, Path("q"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("masks", "scale_map", "sentence"),
    [
        (["m.png"], "m.png", "use --mask or --scale-map, not both"),
        (["none.png"], None, "there is no file none.png for --mask"),
        (["m.png", "m.png"], None, "one --mask for each region: 2 given, and the instruction names 1"),
    ],
)
def test_masks_that_cannot_be_meant(masks: list[str], scale_map: str | None, sentence: str) -> None:
    touch("a.jpg", "b.jpg", "m.png")
    asked = AskedMasks(tuple(map(Path, masks)), scale_map=Path(scale_map) if scale_map else None)
    with pytest.raises(ValueError, match=sentence):
        find_jobs(["a.jpg", DOG], Path("out"), 0, asked)


@pytest.mark.parametrize(
    ("points", "boxes", "sentence"),
    [
        ([(96, 10)], [], "the point 96,10 lies outside the photo of 96x64"),
        ([], [(90, 10, 20, 20)], "the box 90,10,20,20 lies outside the photo of 96x64"),
    ],
)
def test_places_outside_the_upright_photo(
    points: list[tuple[float, float]], boxes: list[tuple[float, float, float, float]], sentence: str
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its side
    Image.new("RGB", (64, 96)).save("a.jpg", exif=exif)
    with pytest.raises(ValueError, match=sentence):
        find_jobs(["a.jpg", DOG], Path("out"), points=points, boxes=boxes)
    (job,) = find_jobs(["a.jpg", DOG], Path("out"), points=[(95, 63)], boxes=[(0, 0, 96, 64)])
    assert (job.points, job.boxes) == (((95, 63),), ((0, 0, 96, 64),))


def test_places_are_for_one_photo_and_one_region_and_not_beside_a_mask() -> None:
    touch("a.jpg", "b.jpg", "m.png")
    with pytest.raises(ValueError, match="--point is for one photo, not 2"):
        find_jobs(["a.jpg", "b.jpg", DOG], Path("out"), points=[(1, 1)])
    with pytest.raises(ValueError, match="use --box, --mask or --scale-map, not several"):
        find_jobs(["a.jpg", DOG], Path("out"), asked=AskedMasks(masks=(Path("m.png"),)), boxes=[(1, 1, 2, 2)])
    Image.new("RGB", (96, 64)).save("c.png")
    with pytest.raises(ValueError, match="this one names 2: name one"):
        find_jobs(["c.png", "make the dog clear, make the cat clear"], Path("out"), points=[(1, 1)])


@pytest.mark.parametrize("text", ["1", "1,2,3", "x,2", "1;2", "nan,1", ""])
def test_a_point_is_two_numbers(text: str) -> None:
    with pytest.raises(ValueError, match="--point takes 2 numbers in pixels of the upright photo, as in 120,80"):
        parse_places([text], 2, "--point")


def test_no_mask_that_is_read_is_overwritten() -> None:
    touch("a.jpg", "out/a-mask.png")
    with pytest.raises(ValueError, match=r"would overwrite out/a-mask\.png"):
        find_jobs(["a.jpg", DOG], Path("out"), asked=AskedMasks((Path("out/a-mask.png"),)))
    Path("link").symlink_to("out")
    with pytest.raises(ValueError, match="would overwrite"):
        find_jobs(["a.jpg", DOG], Path("link"), asked=AskedMasks((Path("out/a-mask.png"),)))


def test_settings_from_options_and_assignments() -> None:
    made = sampling_settings({"num_inference_steps": 7, "compat": None}, ["mask=hard", "mask_steps = 3"])
    assert (made.num_inference_steps, made.mask, made.mask_steps) == (7, "hard", 3)
    assert sampling_settings({"compat": "official"}, []).mask == "hard"
    assert set(OPTIONS) <= set(SamplingSettings.model_fields)


@pytest.mark.parametrize(
    ("values", "assignments", "sentence"),
    [
        ({"num_inference_steps": 0}, [], "--steps: input should be greater than or equal to 1, not 0"),
        ({"start": "sideways"}, [], "--start: input should be 'lq' or 'noise', not sideways"),
        ({}, ["num_inference_steps=5"], "--set does not take num_inference_steps: use --steps"),
        ({}, ["compat=official"], "--set does not take compat: use --official"),
        ({"tile": 100}, [], "--tile: input should be a multiple of 64, not 100"),
        ({}, ["mask=fuzzy"], "--set mask: input should be 'soft' or 'hard', not fuzzy"),
        (
            {},
            ["msak=hard"],
            "there is no sampling setting 'msak'; there are least_timestep, start_timestep, posterior, mask, ",
        ),
        ({}, ["mask"], "--set takes NAME=VALUE as in mask=hard, not 'mask'"),
        (
            {"tile": 256},
            ["overlap=192"],
            "the overlap of 192 is more than half a tile of 256: lower --set overlap or raise --tile",
        ),
        ({"guidance_scale": float("nan")}, [], "--guidance: "),
    ],
)
def test_a_wrong_setting_is_named_as_it_was_typed(
    values: dict[str, object], assignments: list[str], sentence: str
) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(sentence)):
        sampling_settings(values, assignments)


@pytest.mark.parametrize(
    ("tile", "overlap"), [(128, 32), (192, 32), (256, 64), (320, 64), (448, 96), (512, 128), (1024, 128)]
)
def test_a_tile_brings_an_overlap_that_fits(tile: int, overlap: int) -> None:
    assert sampling_settings({"tile": tile}, []).overlap == overlap
    assert sampling_settings({"tile": tile}, ["overlap=64"]).overlap == 64


def test_a_name_that_would_break_the_line_is_escaped() -> None:
    touch("two\nlines.jpg", "p/red\x1b[31m.jpg")
    assert list(found("two\nlines.jpg", "p")) == ["two\\nlines.jpg", "p/red\\x1b[31m.jpg"]
    assert visible_line("Doré 犬 \u2028") == "Doré 犬 \\u2028"


def test_what_restoring_made_is_passed_over_in_folders(capsys: pytest.CaptureFixture[str]) -> None:
    touch("p/a.jpg")
    Image.new("RGB", (9, 9)).save("p/plain.png")
    Path("p/a.png").write_bytes(to_png(Image.new("RGB", (9, 9)), {"seed": 1}))
    assert found("p") == {"p/a.jpg": "a", "p/plain.png": "plain"}
    assert capsys.readouterr().out == "1 earlier result was skipped in the folders: p/a.png\n"
    assert found("p/a.png") == {"p/a.png": "a"}, "named by itself it is meant"
    Path("p/b.png").write_bytes(Path("p/a.png").read_bytes())
    said: list[str] = []
    find_jobs(["p", DOG], Path("out"), say=said.append)
    assert said == ["2 earlier results were skipped in the folders: p/a.png ..."]
    Path("p/a.jpg").unlink()
    Path("p/plain.png").unlink()
    with pytest.raises(ValueError, match=r"^there is no photo in p$"):
        find_jobs(["p", DOG], Path("out"))


def test_sweeps() -> None:
    assert parse_sweep("0.5, 0.7,1.1,0.7") == (0.5, 0.7, 1.1)
    for text in ("", "0.5,", "half", "-1", "5", "nan", "inf", ",".join(f"0.{n:03}" for n in range(1, 40))):
        with pytest.raises(ValueError, match=r"^--sweep takes"):
            parse_sweep(text)
