"""The vision-language describer against a real HTTP server, which looks at the pictures it gets and misbehaves."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from instructrestore.dataengine.descriptions import describe, region_pictures
from instructrestore.dataengine.descriptions.describe import Describe, DescribeSettings
from instructrestore.dataengine.descriptions.region_pictures import MAX_JPEG_BYTES, Pictures, RegionPictures
from instructrestore.dataengine.descriptions.vision_language import (
    RegionDescription,
    VisionLanguageSettings,
    identity,
    messages,
    read_reply,
)
from instructrestore.dataengine.photos.row import Row, SourcePhoto
from instructrestore.dataengine.running.outcomes import apply
from instructrestore.dataengine.running.stage import Drop, Failed, StopStage
from instructrestore.shards.rle import Mask
from instructrestore.shards.sample import Answer, Photo, Piece
from tests import real_photos
from tests.dataengine.serving.faulty_server import TRANSPORT, FaultyServer

COLOURS = {
    "yellow": (240, 220, 40), "blue": (30, 60, 200), "green": (30, 140, 50), "purple": (120, 40, 150),
    "black": (10, 10, 10), "orange": (240, 140, 20),
}  # fmt: skip
GROUND = (170, 170, 170)
REPLIES = {
    "not an object": '{"description": "the ',
    "no description": '{"noun_phrase": "the ball", "subject": "ball"}',
    "leak": json.dumps({"description": "### Question: what is shown? Answer: a ball"}),
    "line": json.dumps({"description": "a ball outlined in red on the ground"}),
    "parroting": json.dumps({"description": "a ball " * 20}),
    "long": json.dumps({"description": " ".join(f"word{n}" for n in range(90))}),
    "empty": json.dumps({"description": " ... "}),
}


class SeeingServer(FaultyServer):
    """Names the colour in the middle of the crop: "the blue ball lying on the ground". `choose` gets the colour."""

    def __enter__(self) -> SeeingServer:
        super().__enter__()
        return self

    def _take(self, body: dict[str, Any], key: str) -> tuple[str, str]:
        pixels = np.asarray(Image.open(io.BytesIO(sent(body)[1])), np.float64)
        middle = pixels[pixels.shape[0] // 2, pixels.shape[1] // 2]
        colour = min(COLOURS, key=lambda name: float(np.abs(middle - COLOURS[name]).sum()))
        seen = {"content": json.dumps({"description": colour})}
        return super()._take({**body, "messages": [*body["messages"], seen]}, key)

    def _handler(self) -> Any:
        plain: Any = super()._handler()

        class Handler(plain):
            def _answer(self, colour: str, fault: str) -> None:
                if fault.isdigit() or (fault in TRANSPORT and fault not in ("late", "cut off")):
                    super()._answer(colour, fault)
                    return
                text = REPLIES.get(fault) or said(colour, fault)
                reply = json.dumps({"choices": [{"message": {"content": text}}]}).encode()
                self._send(200, reply, cut=fault == "cut off")

        return Handler


def said(colour: str, fault: str) -> str:
    """The reply about a region; "ok" has the description alone."""
    reply = {"description": f"The {colour} ball is lying on the ground."}
    if fault == "with phrase":
        reply |= {"noun_phrase": f"the {colour} ball lying on the ground", "subject": "ball"}
    if fault == "bad phrase":
        reply |= {"noun_phrase": f"the {colour} ball is lying on the ground", "subject": "horse"}
    return json.dumps(reply)


def sent(body: dict[str, Any]) -> tuple[bytes, bytes]:
    """The two pictures of a request."""
    urls = [part["image_url"]["url"] for part in body["messages"][1]["content"] if part["type"] == "image_url"]
    overview, crop = (base64.b64decode(url.removeprefix("data:image/jpeg;base64,"), validate=True) for url in urls)
    return overview, crop


def balls(path: Path, colours: Sequence[str], size: tuple[int, int] = (640, 400), shade: int = 0) -> Row:
    """A row of a photo, written to `path`, with a ball of each colour side by side, each a silent piece."""
    width, height = size
    rgb = np.full((height, width, 3), np.array(GROUND) - shade, np.uint8)
    masks = []
    step = width // len(colours)
    for place, colour in enumerate(colours):
        mask = np.zeros((height, width), np.uint8)
        cv2.circle(mask, (step * place + step // 2, height // 2), step // 4, 1, -1)
        rgb[mask.astype(np.bool_)] = COLOURS[colour]
        masks.append(Mask.from_array(mask.astype(np.bool_)))
    Image.fromarray(rgb).save(path)
    data = path.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    photo = Photo(
        sha256[:20], sha256, path.name, "test", "", "", width, height, len(data), "png", perceptual_hash="0" * 16
    )
    pieces = tuple(Piece(mask, "embedded 1") for mask in masks)
    return Row(SourcePhoto(str(path), path.name, "test"), photo, pieces)


def settings(url: str, noun_phrases: bool = False, **server: Any) -> DescribeSettings:
    """A server's settings made quick."""
    quick = {"timeout_s": 0.8, "backoff_s": 0.02, "give_up_s": 0.8, "model": "test-vl", "revision": "r1"}
    model = {"server": {"urls": [url], **quick, **server}, "noun_phrases": noun_phrases}
    return DescribeSettings.model_validate({"describer": "vision_language", "vision_language": model})


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def descriptions(outcome: Row | Drop | Failed) -> list[str]:
    assert isinstance(outcome, Row), outcome
    return [piece.description for piece in outcome.pieces]


def right(*colours: str) -> list[str]:
    return [f"The {colour} ball is lying on the ground." for colour in colours]


def test_three_regions_of_a_photo(tmp_path: Path) -> None:
    row = balls(tmp_path / "a.png", ["yellow", "blue", "green"])
    words = Piece(row.pieces[1].mask, "annotated", "a dog on the sand", "annotated", "a dog on the sand", "dog")
    row = Row(row.origin, row.photo, (row.pieces[0], words, *row.pieces[1:]))
    with SeeingServer(delay_s=0.1) as server:
        [done] = Describe(settings(server.url), tmp_path / "answers")([row])
    yellow, blue, green = right("yellow", "blue", "green")
    assert descriptions(done) == [yellow, "a dog on the sand", blue, green]
    assert isinstance(done, Row)
    assert [piece.describer for piece in done.pieces] == ["test-vl r1", "annotated", "test-vl r1", "test-vl r1"]
    assert [piece.noun_phrase for piece in done.pieces] == ["", "a dog on the sand", "", ""]
    assert [piece.mask for piece in done.pieces] == [piece.mask for piece in row.pieces]
    assert server.most_at_once == 3
    assert all(served == ["ok"] for served in server.served.values())
    form = server.bodies[0]["response_format"]["json_schema"]
    assert form["strict"] is True
    assert form["schema"]["required"] == ["description"]
    assert server.bodies[0]["temperature"] == 0


def test_valid_phrases_are_the_pieces_own_and_others_go_to_the_rounds(tmp_path: Path) -> None:
    row = balls(tmp_path / "a.png", ["yellow", "blue"])
    with SeeingServer(lambda colour, tried: "with phrase" if colour == "yellow" else "bad phrase") as server:
        [done] = Describe(settings(server.url, noun_phrases=True))([row])
    assert descriptions(done) == right("yellow", "blue")
    assert isinstance(done, Row)
    good, bad = done.pieces
    assert (good.noun_phrase, good.subject) == ("the yellow ball lying on the ground", "ball")
    assert good.answers == (Answer("test-vl", "r1", 0, good.noun_phrase, "ball"),)
    assert (bad.noun_phrase, bad.subject) == ("", "")
    [answer] = bad.answers
    assert {"sentence", "subject_not_in_phrase", "unfaithful"} <= set(answer.faults.split())
    assert len(server.bodies) == 2, "a wrong noun phrase is no reason to ask again"
    schema = server.bodies[0]["response_format"]["json_schema"]["schema"]
    assert list(schema["properties"]) == ["description", "noun_phrase", "subject"]


@pytest.mark.parametrize("fault", [*TRANSPORT, *REPLIES])
def test_a_fault_is_asked_again_until_it_passes(fault: str, tmp_path: Path) -> None:
    row = balls(tmp_path / "a.png", ["yellow", "blue"])
    faulty = {("blue", 0): fault, ("blue", 1): fault}
    with SeeingServer(lambda colour, tried: faulty.get((colour, tried), "ok"), late_s=1.2) as server:
        [done] = Describe(settings(server.url), tmp_path)([row])
    assert descriptions(done) == right("yellow", "blue")
    assert server.served == {"yellow": ["ok"], "blue": [fault, fault, "ok"]}
    bodies = [body for body in server.bodies if sent(body) == sent(server.bodies[-1])]
    sampled = [(body["temperature"] > 0, body.get("seed")) for body in bodies]
    if fault in TRANSPORT:
        assert sampled == [(False, None)] * 3
    else:  # the same again would give the same again
        assert [of for of, _ in sampled] == [False, True, True]
        assert len({seed for _, seed in sampled}) == 3


@pytest.mark.parametrize(
    ("fault", "error", "tries"),
    [
        ("500", r"HTTP 500: .*, 4 times", 4),
        ("429", r"HTTP 429: .*, 4 times", 4),
        ("not json", r"the reply is not a chat completion, 4 times", 4),
        ("400", r"HTTP 400", 1),
    ],
)
def test_a_fault_that_stays_fails_its_photo_alone(fault: str, error: str, tries: int, tmp_path: Path) -> None:
    rows = [balls(tmp_path / "a.png", ["yellow", "blue"]), balls(tmp_path / "b.png", ["green", "purple", "black"])]
    healed: list[bool] = []
    with SeeingServer(lambda colour, tried: fault if colour == "blue" and not healed else "ok") as server:
        stage = Describe(settings(server.url, tries=4), tmp_path)
        outcomes = apply(stage, [(row.origin.name, row) for row in rows], None)
        assert [outcome.kind for outcome in outcomes] == ["failed", "ok"]
        assert re.match(error, outcomes[0].reason), outcomes[0].reason
        assert outcomes[1].row
        assert descriptions(outcomes[1].row) == right("green", "purple", "black")
        assert len(server.served["blue"]) == tries
        # Once the cause is gone, the failed photo's row gives the rest, and its other region is not asked about again.
        healed.append(True)
        assert outcomes[0].row
        [done] = stage([outcomes[0].row])
        assert descriptions(done) == right("yellow", "blue")
        assert len(server.served["yellow"]) == 1


@pytest.mark.parametrize("fault", REPLIES)
def test_a_region_without_a_usable_answer_is_removed_and_counted(fault: str, tmp_path: Path) -> None:
    rows = [balls(tmp_path / "a.png", ["yellow", "blue", "green"]), balls(tmp_path / "b.png", ["blue"])]
    with SeeingServer(lambda colour, tried: fault if colour == "blue" else "ok") as server:
        [some, none] = first = Describe(settings(server.url), tmp_path / "answers")(rows)
        assert len(server.bodies) == 2 + 3 + 3
        # The third answer is kept as well: the same answers give the same rows, whatever the server would say now.
        assert Describe(settings(server.url), tmp_path / "answers")(rows) == first
        assert len(server.bodies) == 8
    assert descriptions(some) == right("yellow", "green")
    assert isinstance(some, Row)
    assert [piece.mask for piece in some.pieces] == [rows[0].pieces[0].mask, rows[0].pieces[2].mask]
    assert some.counts == {"no usable description": 1}
    assert none == Drop("no described region", "1 without words")


def test_an_unusable_answer_does_not_hide_that_another_region_failed(tmp_path: Path) -> None:
    row = balls(tmp_path / "a.png", ["yellow", "blue"])
    faults = {"yellow": "empty", "blue": "400"}
    with SeeingServer(lambda colour, tried: faults[colour]) as server:
        [failed] = Describe(settings(server.url), tmp_path)([row])
        faults["blue"] = "ok"
        [done] = Describe(settings(server.url), tmp_path)([row])
    assert isinstance(failed, Failed)
    assert failed.error.startswith("HTTP 400")
    assert descriptions(done) == right("blue")
    assert len(server.served["yellow"]) == 3


def test_a_server_that_is_down_stops_the_stage_with_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
    row = balls(tmp_path / "a.png", ["yellow", "blue"])
    with pytest.raises(StopStage, match=re.escape(f"server at {url} does not answer")) as stopped:
        Describe(settings(url), tmp_path)([row])
    assert "\n" not in str(stopped.value)


def test_what_was_answered_before_the_server_went_is_kept(tmp_path: Path) -> None:
    rows = [balls(tmp_path / f"{n}.png", [colour], shade=n) for n, colour in enumerate(COLOURS)]
    with (
        SeeingServer(lambda colour, tried: "401" if colour == "black" else "ok") as server,
        pytest.raises(StopStage, match="does not accept the key"),
    ):
        Describe(settings(server.url, requests_in_flight=1), tmp_path)(rows)
    with SeeingServer() as server:
        outcomes = Describe(settings(server.url), tmp_path)(rows)
    assert [descriptions(outcome) for outcome in outcomes] == [right(colour) for colour in COLOURS]
    assert set(server.served) == {"black", "orange"}, "the first wave of four is not asked again"


def test_answers_are_kept_by_model_prompt_and_pictures(tmp_path: Path) -> None:
    rows = [balls(tmp_path / f"{n}.png", ["yellow", "blue", "green"], shade=n) for n in range(4)]
    answers = tmp_path / "answers"
    with SeeingServer() as server:
        first = Describe(settings(server.url), answers)(rows)
        assert len(server.bodies) == 12
        assert Describe(settings(server.url, timeout_s=3, tries=2), answers)(rows) == first
        assert [Describe(settings(server.url), answers)([row])[0] for row in rows] == first
        assert len(server.bodies) == 12, "a kept answer is not asked for"
        # The files are the source of truth: what they say is what comes out.
        for path in answers.rglob("*.json"):
            edited = re.sub(r'"hash": "\w+"', '"hash": ""', path.read_text())  # that of an edited reply is unknown
            path.write_text(edited.replace("blue ball", "red balloon"))
        changed = Describe(settings(server.url), answers)(rows)
        assert {descriptions(row)[1] for row in changed} == {"The red balloon is lying on the ground."}
        assert len(server.bodies) == 12
        Describe(settings(server.url, revision="r2"), answers)(rows)
        assert len(server.bodies) == 24
        moved = balls(tmp_path / "moved.png", ["yellow", "blue", "green"], size=(660, 400))
        Describe(settings(server.url), answers)([moved])
        assert len(server.bodies) == 27


def test_a_batch_gives_what_its_rows_give_alone(tmp_path: Path) -> None:
    names = list(COLOURS)
    rows = [balls(tmp_path / f"{n}.png", names[n % 6 :][: 1 + n % 3], shade=n) for n in range(9)]
    rows.insert(4, Row(rows[0].origin, rows[0].photo, ()))
    with SeeingServer(lambda colour, tried: "400" if colour == "orange" else "ok", delay_s=0.02) as server:
        batch = Describe(settings(server.url, requests_in_flight=3))(rows)
        assert 1 < server.most_at_once <= 3
        in_batch = len(server.bodies)
        alone = [Describe(settings(server.url))([row])[0] for row in rows]
    assert batch == alone
    assert len(server.bodies) == 2 * in_batch
    assert {type(outcome) for outcome in batch} == {Row, Drop, Failed}


def test_two_regions_that_look_the_same_are_one_request(tmp_path: Path) -> None:
    row = balls(tmp_path / "a.png", ["yellow"])
    with SeeingServer() as server:
        [done] = Describe(settings(server.url))([Row(row.origin, row.photo, (*row.pieces, *row.pieces))])
    assert descriptions(done) == right("yellow", "yellow")
    assert len(server.bodies) == 1


def test_the_key_comes_from_the_environment_and_lies_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = balls(tmp_path / "a.png", ["yellow"])
    with SeeingServer() as server:
        chosen = settings(server.url, api_key_env="SEEING_KEY")
        with pytest.raises(ValueError, match="SEEING_KEY"):
            Describe(chosen)
        monkeypatch.setenv("SEEING_KEY", "sk-verysecret")
        [done] = Describe(chosen, tmp_path / "answers")([row])
    assert set(server.keys) == {"Bearer sk-verysecret"}
    kept = " ".join(path.read_text() for path in (tmp_path / "answers").rglob("*.json"))
    assert kept
    assert "verysecret" not in f"{done} {kept} {chosen.model_dump_json()}"


def test_answers_that_cannot_be_kept_stop_the_stage(tmp_path: Path) -> None:
    row = balls(tmp_path / "a.png", ["yellow"])
    (tmp_path / "answers").write_text("a file, not a folder")
    with SeeingServer() as server, pytest.raises(StopStage, match="answers cannot be written"):
        Describe(settings(server.url), tmp_path / "answers")([row])


def test_the_other_describers_are_what_they_were() -> None:
    by_colour = DescribeSettings(describer="colour")
    assert by_colour.model_dump() == {"describer": "colour", "reuse_annotations": True}
    assert "vision" not in describe.REVISION
    assert describe.identity(by_colour) == (describe.REVISION, by_colour)
    chosen = settings("http://a/v1")
    assert DescribeSettings.model_validate(chosen.model_dump(mode="json")) == chosen


def test_the_identity_is_of_what_can_change_a_description() -> None:
    def known(noun_phrases: bool = False, **server: Any) -> str:
        model = settings("http://a/v1", noun_phrases, **server).vision_language
        assert model
        return identity(model)

    assert known() == known(urls=["http://b/v1"], timeout_s=9, requests_in_flight=2, api_key_env="KEY")
    others = [
        known(noun_phrases=True), known(model="m"), known(revision="r2"), known(max_tokens=64), known(temperature=1),
        known(retry_temperature=0.1),
    ]  # fmt: skip
    assert len({known(), *others}) == 7
    model = settings("http://a/v1").vision_language
    assert model
    for changed in ({"longest_side": 512}, {"jpeg_quality": 70}):
        assert identity(model.model_copy(update=changed)) != known()


@pytest.mark.parametrize(
    "wrong",
    [
        {"describer": "vision_language"},
        {"vision_language": {"server": {"urls": ["http://a/v1"], "model": "m"}}},
        {"describer": "vision_language", "vision_language": {"server": {"urls": [], "model": "m"}}},
        {"describer": "vision_language", "vision_language": {"server": {"urls": ["http://k:s@a/v1"], "model": "m"}}},
        {
            "describer": "vision_language",
            "vision_language": {"server": {"urls": ["http://a/v1"], "model": "m", "api_key": "sk"}},
        },
    ],
)
def test_bad_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DescribeSettings.model_validate(wrong)


@pytest.mark.parametrize(
    ("reply", "read"),
    [
        ('{"description": "  a red\\n car "}', "a red car"),
        ('{"description": "A train with a red line along its side."}', "A train with a red line along its side."),
        ('```json\n{"description": "a car"}\n```', None),
        ('{"description": "a car", "subject": "car"}', None),
        ('{"description": 3}', None),
        ('["a car"]', None),
        ('{"description": "I\'m sorry, I cannot help with that."}', None),
        ('{"description": "see https://example.org"}', None),
        ('{"description": "a \\ud800 car"}', None),
        ("[" * 1999, None),
        (" " * 3000, None),
    ],
)
def test_replies_are_read_strictly(reply: str, read: str | None) -> None:
    model = settings("http://a/v1").vision_language
    assert model
    seen = read_reply(reply, model)
    assert isinstance(seen, str) if read is None else seen == RegionDescription(read, None)


def shapes() -> dict[str, tuple[tuple[int, int], NDArray[np.bool_]]]:
    """Masks by name, with their photo's (width, height)."""

    def drawn(width: int, height: int, *boxes: tuple[int, int, int, int]) -> tuple[tuple[int, int], NDArray[np.bool_]]:
        mask = np.zeros((height, width), np.bool_)
        for left, top, right, bottom in boxes:
            mask[top:bottom, left:right] = True
        return (width, height), mask

    disc = np.zeros((900, 1200), np.uint8)
    cv2.circle(disc, (700, 300), 200, 1, -1)
    return {
        "disc": ((1200, 900), disc.astype(np.bool_)),
        "small photo": drawn(300, 200, (100, 80, 160, 140)),
        "two parts": drawn(800, 600, (50, 50, 200, 300), (500, 400, 700, 560)),
        "at the edge": drawn(1000, 700, (0, 100, 400, 700)),
        "all of it": drawn(500, 400, (0, 0, 500, 400)),
        "tiny": drawn(1600, 1200, (801, 601, 803, 603)),
        "thin": drawn(1600, 1200, (100, 333, 1500, 335)),
        "a hole": ((600, 600), np.hypot(*(np.mgrid[:600, :600] - 300)) // 100 % 2 == 1),
    }


@pytest.mark.parametrize("name", shapes())
@pytest.mark.parametrize("ground", [(255, 255, 255), region_pictures.OUTLINE, (0, 0, 0), (120, 130, 90)])
def test_the_outline_lies_where_the_masks_edge_is(name: str, ground: tuple[int, int, int]) -> None:
    (width, height), mask = shapes()[name]
    rgb = np.full((height, width, 3), ground, np.uint8)
    pictures = Pictures(rgb, longest_side=512, quality=90).of(mask)
    left, top, boxed_width, boxed_height = cv2.boundingRect(mask.view(np.uint8))
    for data in (pictures.overview, pictures.crop):
        picture = decoded(data)
        assert max(picture.shape) <= 512
        # Where the picture's pixels lie in the photo: the crop's margins are equal but where the photo ends.
        if data is pictures.overview:
            x0, y0, scale = 0.0, 0.0, picture.shape[1] / width
        else:
            margin = max(16, round(0.15 * max(boxed_width, boxed_height)))
            x0, y0 = max(0, left - margin), max(0, top - margin)
            scale = picture.shape[1] / (min(width, left + boxed_width + margin) - x0)
        # Distance of each pixel's middle to the mask's edge, in pixels of the picture, negative inside.
        inside = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
        outside = cv2.distanceTransform(np.pad(~mask, 1, mode="edge").astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
        ys = np.clip((np.arange(picture.shape[0]) + 0.5) / scale + y0, 0, height - 1).astype(int)
        xs = np.clip((np.arange(picture.shape[1]) + 0.5) / scale + x0, 0, width - 1).astype(int)
        distance = (np.where(mask, -inside, outside) * scale)[np.ix_(ys, xs)]
        line = max(2, round(max(picture.shape) / 256))
        slack = 1.5 + scale
        red = np.abs(picture.astype(int) - region_pictures.OUTLINE).sum(-1) < 100
        white = picture.min(-1) > 215
        edge = np.ones_like(red)
        edge[line + 1 : -line - 1, line + 1 : -line - 1] = False
        if ground != region_pictures.OUTLINE:
            stray = red & ~edge & ((distance > line + slack) | (distance < -slack))
            assert not stray.any()
            near = (distance > 0.75) & (distance < line - 0.5)
            assert red[near].mean() > 0.7 if near.sum() > 20 else red.any()
        if ground != region_pictures.RIM and name != "all of it":
            assert not (white & ~edge & ((distance > 2 * line + slack) | (distance < line - slack))).any()
            assert white.sum() > 8
        if scale < 1 and data is pictures.crop:
            continue
        untouched = (distance < -slack - 1) & ~edge  # JPEG's ringing reaches a little further than the line
        assert (np.abs(picture[untouched].astype(int) - ground).sum(-1) < 120).all()


def test_pictures_are_bounded_whatever_the_photo() -> None:
    noise = np.random.default_rng(3).integers(0, 256, (2200, 2600, 3), dtype=np.uint8)
    mask = np.zeros((2200, 2600), np.bool_)
    mask[100:2100, 100:2500] = True
    pictures = Pictures(noise, longest_side=2048, quality=95).of(mask)
    for data in (pictures.overview, pictures.crop):
        assert len(data) <= MAX_JPEG_BYTES
        assert 512 < max(decoded(data).shape) < 2048
    overview = messages(*pictures.urls(), noun_phrases=False)[-1]["content"][1]["image_url"]["url"]
    assert base64.b64decode(overview.partition(",")[2]) == pictures.overview
    line = np.zeros((2200, 2600), np.bool_)
    line[40, 3:2590] = True
    thin = decoded(Pictures(noise[:, :, ::-1], longest_side=512, quality=90).of(line).crop)
    assert thin.shape[1] == 512
    assert thin.shape[0] >= 60, "margins keep a line from being a picture a few pixels high"


def test_a_digest_is_of_both_pictures() -> None:
    pair = RegionPictures(b"ab", b"c")
    assert pair.digest == RegionPictures(b"ab", b"c").digest
    assert len({pair.digest, RegionPictures(b"a", b"bc").digest, RegionPictures(b"c", b"ab").digest}) == 3


def decoded(data: bytes) -> NDArray[np.uint8]:
    picture = Image.open(io.BytesIO(data))
    assert (picture.format, picture.mode) == ("JPEG", "RGB")
    return np.asarray(picture)


def test_defaults_fit_a_photo_in_a_few_hundred_kilobytes(data_folder: Path) -> None:
    defaults = VisionLanguageSettings.model_validate({"server": {"urls": ["http://a/v1"], "model": "m"}})
    for path in real_photos.present(data_folder, real_photos.COCO_VALIDATION[:6]):
        rgb = np.asarray(Image.open(path).convert("RGB"))
        mask = np.zeros(rgb.shape[:2], np.bool_)
        mask[rgb.shape[0] // 4 : rgb.shape[0] // 2, rgb.shape[1] // 3 : rgb.shape[1] // 2] = True
        pictures = Pictures(rgb, defaults.longest_side, defaults.jpeg_quality).of(mask)
        assert 5_000 < len(pictures.overview) < 400_000
        assert 2_000 < len(pictures.crop) < 400_000
