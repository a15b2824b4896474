"""The encoders: captions by their meaning, pictures by their looks, and the hub's models in their real classes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPConfig, CLIPModel, Dinov2Config, Dinov2Model, SiglipConfig, SiglipModel

from instructrestore.dataengine.search.hub import HubSpace
from instructrestore.dataengine.search.making import make_vectors
from instructrestore.dataengine.search.nearest import nearest
from instructrestore.dataengine.search.spaces import open_space
from instructrestore.shards.index import Dataset
from tests.dataengine.small_dataset import AnnotatedPhoto, photo_of, region_of, write_dataset

CAPTIONS = [
    [("a red boat", "boat"), ("the sky at dusk", "sky")],
    [("a red boat", "boat"), ("a brick wall", "wall")],
    [("a puppy on the grass", "puppy"), ("the grass", "grass")],
    [("<b>\x1b[31m=cmd()\u202e" + "long " * 2000, "text"), ("a wall", "wall")],
]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    samples = []
    for seed, captions in enumerate(CAPTIONS):
        photo, rgb = photo_of(seed, 160, 120)
        rgb[30:90, 20:80] = (200, 30, 30) if seed != 1 else (30, 30, 200)
        boxes = [(20, 30, 60, 60), (90, 10, 60, 90)]
        regions = (region_of(photo, *box, *said) for box, said in zip(boxes, captions, strict=True))
        samples.append((AnnotatedPhoto(photo, tuple(regions)), rgb))
    return write_dataset(tmp_path_factory.mktemp("spaces") / "data", samples)


def test_captions_are_found_by_what_they_mean_and_by_what_else_their_photo_shows(
    dataset: Dataset, tmp_path: Path
) -> None:
    space = open_space("captions")
    table = make_vectors(dataset, space, tmp_path)

    def found(text: str) -> list[tuple[int, int]]:
        return [(hit.row, hit.region) for hit in nearest(table, space.text(text), 2)]

    assert found("a young dog")[0] == (2, 0)
    assert found("a red boat at dusk") == [(0, 0), (1, 0)]  # the same caption, and one photo has the dusk
    assert found("a red boat by a brick wall")[0] == (1, 0)
    assert np.linalg.norm(table.of_photo(3), axis=1) == pytest.approx(1, abs=1e-3)


def test_pictures_are_found_by_what_they_look_like(dataset: Dataset, tmp_path: Path) -> None:
    space = open_space("pictures")
    table = make_vectors(dataset, space, tmp_path)
    hits = nearest(table, table.of_photo(0)[1], 4)
    assert (hits[0].row, hits[0].region) == (0, 0)
    assert {(hit.row, hit.region) for hit in hits[1:3]} == {(2, 0), (3, 0)}  # the other red boxes
    with pytest.raises(ValueError, match="knows pictures and no texts: search by captions"):
        space.text("a red box")


def test_questions_that_cannot_be_asked(dataset: Dataset) -> None:
    with pytest.raises(ValueError, match="there is nothing to search for"):
        open_space("captions").text(" \n")
    with pytest.raises(ValueError, match="1000 is most"):
        open_space("captions").text("word " * 300)
    with pytest.raises(ValueError, match="leave --by captions out"):
        open_space("captions", "some/model")


VISION = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
TEXT = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 30522,
    "max_position_embeddings": 16,
}


def saved(kind: str, folder: Path, tokenizer: Path) -> Path:
    """A tiny model with random weights in the real class, with a tokenizer where it knows texts."""
    torch.manual_seed(5)
    if kind == "dinov2":
        Dinov2Model(
            Dinov2Config(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=56)
        ).save_pretrained(folder)
        return folder
    if kind == "siglip":
        model = SiglipModel(SiglipConfig(text_config={**TEXT, "projection_size": 16}, vision_config=VISION))
    else:
        shared = {"projection_dim": 12}
        # CLIP reads a text's vector at its end token, which is the tokenizer's last one.
        model = CLIPModel(
            CLIPConfig(
                text_config={**TEXT, **shared, "eos_token_id": 102}, vision_config={**VISION, **shared}, **shared
            )
        )
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        if (tokenizer / name).exists():
            (folder / name).write_bytes((tokenizer / name).read_bytes())
    return folder


@pytest.fixture(scope="module")
def tokenizer() -> Path:
    from instructrestore.pretrained import installed

    return installed.sentences().checked().parent


@pytest.mark.parametrize(("kind", "dimension"), [("siglip", 16), ("clip", 12), ("dinov2", 16)])
def test_a_model_of_the_hub_gives_pictures_and_where_it_can_texts(
    kind: str, dimension: int, dataset: Dataset, tokenizer: Path, tmp_path: Path
) -> None:
    space = HubSpace(str(saved(kind, tmp_path / "model", tokenizer)), "abc", "cpu")
    assert (space.model, space.dimension) == ("model@abc", dimension)
    table = make_vectors(dataset, space, tmp_path / "vectors")
    assert (table.record.photos, table.record.regions, table.record.model) == (4, 8, "model@abc")
    assert nearest(table, table.of_photo(0)[1], 1)[0].score == pytest.approx(1, abs=2e-3)
    if kind == "dinov2":
        with pytest.raises(ValueError, match="knows pictures and no texts"):
            space.text("a boat")
    else:
        assert np.linalg.norm(space.text("a red boat")) == pytest.approx(1)
        assert not np.allclose(space.text("a red boat"), space.text("a wall"), atol=1e-4)


def test_weights_that_are_of_no_known_model_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match="it is a bert; those known are siglip, clip, dinov2"):
        HubSpace(str(tmp_path))
    with pytest.raises(ValueError, match="the weights nowhere/none are not a local folder"):
        HubSpace("nowhere/none")
