"""Osprey as a describer: its own code with small random weights, and what needs nothing of it.

The former run by `make test-checkouts`, against a checkout of github.com/CircleRadon/Osprey (tests/checkouts.py). Its
mask extractor and vision tower are real; the tower has fewer blocks, the language model is narrow.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM, LlamaTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from instructrestore.dataengine.descriptions import describe, osprey, osprey_weights
from instructrestore.dataengine.descriptions.describe import Describe, DescribeSettings
from instructrestore.dataengine.descriptions.osprey import OspreyDescriber, preprocess, read_answer
from instructrestore.dataengine.descriptions.osprey_settings import PROMPT, OspreySettings, identity
from instructrestore.dataengine.photos.row import Row
from instructrestore.dataengine.running.stage import Drop
from instructrestore.dataengine.settings import BuildSettings
from instructrestore.dataengine.stages import photo_stages
from instructrestore.shards.sample import Piece
from tests import numerics
from tests.checkouts import OSPREY
from tests.dataengine.descriptions.test_vision_language import balls

WIDTH = 256


@pytest.mark.parametrize(
    ("answer", "description"),
    [
        ("  a man in\n a red shirt </s>", "a man in a red shirt"),
        ("A dog. It sits.", "A dog. It sits."),
        ("Short description: a brown dog", "a brown dog"),
        ("a clock at 10:30", "a clock at 10:30"),
        ("a cat. a cat. a cat. a c", "a cat."),
        ("a cat... asleep", "a cat... asleep"),
        ("a cat. It sits. a cat.", "a cat. It sits."),
        ("3.3 metres", "3.3 metres"),
        ("</s>", ""),
        ("", ""),
    ],
)
def test_answers_are_read_as_the_demo_reads_them(answer: str, description: str) -> None:
    assert read_answer(answer) == description


def photo_of(height: int, width: int) -> NDArray[np.uint8]:
    """Smooth with some noise, so that neither a shift nor another filter goes unnoticed."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = np.stack([np.sin(9 * x + 4 * y), np.cos(7 * y), np.sin(20 * x * y)], axis=-1)
    noise = np.random.default_rng(height).normal(0, 12, (height, width, 3))
    return np.clip(127 + 90 * waves + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [(333, 500), (700, 411), (512, 512), (90, 40), (1200, 700)])
def test_pixels_are_those_of_the_demo_s_processor(size: tuple[int, int]) -> None:
    rgb = photo_of(*size)
    processor = CLIPImageProcessorPil(  # with the arguments of osprey/model/multimodal_encoder/clip_encoder.py
        size={"shortest_edge": 512},
        resample=Image.Resampling.BICUBIC,
        do_center_crop=False,
        image_mean=[0.48145466, 0.4578275, 0.40821073],
        image_std=[0.26862954, 0.26130258, 0.27577711],
    )
    resized = processor(Image.fromarray(rgb), return_tensors="pt")["pixel_values"]
    expected = F.interpolate(resized, size=(512, 512), mode="bilinear", align_corners=False)
    torch.testing.assert_close(preprocess(rgb), expected, rtol=0, atol=1e-5)


def test_settings_of_other_describers_are_what_they_were() -> None:
    assert DescribeSettings().model_dump() == {"describer": "named", "reuse_annotations": True}
    assert "osprey" not in describe.REVISION
    chosen = DescribeSettings(describer="osprey", osprey=OspreySettings(batch=3))
    assert DescribeSettings.model_validate(chosen.model_dump(mode="json")) == chosen


def test_the_identity_is_of_what_can_change_a_description() -> None:
    def stage(**changed: Any) -> str:
        chosen = DescribeSettings(describer="osprey", osprey=OspreySettings(**changed))
        [found] = [s for s in photo_stages(BuildSettings(descriptions=chosen)) if s.name == "descriptions"]
        assert found.own_workers
        return found.identity

    assert stage() == stage(checkout="code", batch=2, device="cpu")
    others = [
        {"model": "m"}, {"revision": "r"}, {"vision_tower": "t"}, {"vision_tower_revision": "r"}, {"dtype": "float32"},
        {"vision_tower_file": "f"}, {"max_new_tokens": 9},
    ]  # fmt: skip
    assert len({stage(), *(stage(**other) for other in others)}) == 8
    assert len(identity(OspreySettings())) == 16
    assert not any(s.own_workers for s in photo_stages(BuildSettings()))


def one_sentence(error: pytest.ExceptionInfo[ValueError], *parts: str) -> None:
    text = str(error.value)
    assert "\n" not in text
    assert all(part in text for part in parts), text


def test_code_that_is_not_there_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(osprey_weights, "_CODE", ("osprey_that_is_not_there",))
    path = list(osprey_weights.sys.path)
    with pytest.raises(ValueError, match="installed package") as error:
        OspreyDescriber(OspreySettings(device="cpu"))
    one_sentence(error, "osprey_that_is_not_there", "docs/annotators.md", "descriptions.osprey.checkout")
    with pytest.raises(ValueError, match="cannot be imported") as error:
        OspreyDescriber(OspreySettings(device="cpu", checkout=str(tmp_path)))
    one_sentence(error, str(tmp_path))
    assert osprey_weights.sys.path == path


def test_code_of_another_folder_than_the_one_named_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(osprey_weights, "_CODE", ("instructrestore.dataengine.descriptions.osprey_settings",))
    with pytest.raises(ValueError, match="has already been loaded from") as error:
        osprey_weights.import_code(str(tmp_path))
    one_sentence(error, str(tmp_path))


def test_weights_that_cannot_be_fetched_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    settings = OspreySettings(model="nobody/none", vision_tower="nobody/tower", revision="abc")
    with pytest.raises(ValueError, match="cannot be fetched") as error:
        osprey_weights.find_weights(settings.model, settings.revision)
    one_sentence(error, "nobody/none", "abc", "HF_HUB_OFFLINE")
    with pytest.raises(ValueError, match="vision tower") as error:
        osprey_weights.find_tower(settings)
    one_sentence(error, "nobody/tower", "open_clip_pytorch_model.bin")


def test_a_gpu_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(ValueError, match="no device cuda:99") as error:
        OspreyDescriber(OspreySettings(device="cuda:99"))
    one_sentence(error, "descriptions.osprey.device")


class Said:
    """Stands in for the model where the stage alone is tried."""

    name = "osprey 1 m@r"

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts

    def __call__(self, rgb: NDArray[np.uint8], masks: Iterator[NDArray[np.bool_]]) -> list[str]:
        return [text for text, _ in zip(self.texts, masks, strict=True)]


def stage_saying(monkeypatch: pytest.MonkeyPatch, *texts: str) -> Describe:
    monkeypatch.setattr(osprey, "OspreyDescriber", lambda settings: Said(list(texts)))
    return Describe(DescribeSettings(describer="osprey"))


def test_the_stage_leaves_descriptions_to_the_rounds_and_counts_those_of_no_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = balls(tmp_path / "a.png", ["yellow", "blue", "green", "purple"])
    words = Piece(row.pieces[0].mask, "annotated", "a dog on the sand", "annotated", "a dog on the sand", "dog")
    row = Row(row.origin, row.photo, (words, *row.pieces))
    stage = stage_saying(monkeypatch, "A ball is on the ground.", "", "ball ball ball ball ball ball", "a green ball")
    [done] = stage([row])
    assert isinstance(done, Row)
    assert [piece.description for piece in done.pieces] == [
        "a dog on the sand", "A ball is on the ground.", "a green ball",
    ]  # fmt: skip
    assert [piece.describer for piece in done.pieces] == ["annotated", Said.name, Said.name]
    assert [piece.noun_phrase for piece in done.pieces] == ["a dog on the sand", "", ""]
    assert [piece.mask for piece in done.pieces[1:]] == [row.pieces[1].mask, row.pieces[4].mask]
    assert done.counts == {"no usable description": 2}


def test_a_photo_without_any_description_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [dropped] = stage_saying(monkeypatch, "...", "</s>")([balls(tmp_path / "a.png", ["yellow", "blue"])])
    assert dropped == Drop("no described region", "2 without words")


# What follows runs Osprey's own code.


@pytest.fixture(scope="module")
def llama() -> Iterator[Any]:
    """osprey.model.language_model.osprey_llama, with 1, 1, 2 and 1 blocks in the tower and features of WIDTH."""
    code = osprey_weights.import_code(str(OSPREY.folder))[0]
    with pytest.MonkeyPatch.context() as patch:
        timm: Any = importlib.import_module("timm")
        create = timm.create_model

        def shallow(name: str, *args: Any, **fields: Any) -> Any:
            trunk = create(name, *args, **fields)
            for level, blocks in zip(trunk.stages, (1, 1, 2, 1), strict=True):
                level.blocks = level.blocks[:blocks]
            return trunk

        patch.setattr(timm, "create_model", shallow)
        # OspreyLlamaForCausalLM makes its extractor without arguments.
        patch.setattr(code.MaskExtractor.__init__, "__defaults__", (112, 1024, WIDTH))
        yield code


@pytest.fixture(scope="module")
def weights(llama: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model/ (without the tower) and tower.bin, random: the text attends to the region's two vectors, so
    that answers depend on the region."""
    folder = tmp_path_factory.mktemp("osprey")
    drawn = torch.Generator().manual_seed(0)
    tower = importlib.import_module("osprey.model.multimodal_encoder.clip").CLIP()
    for name, tensor in tower.state_dict().items():
        if tensor.dim() >= 2:
            tensor.normal_(0, (1.4 / tensor[0].numel()) ** 0.5, generator=drawn)
        elif name.endswith("gamma"):
            tensor.fill_(0.5)
    torch.save(tower.state_dict() | {"logit_scale": torch.ones(())}, folder / "tower.bin")

    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁"]
    tokens += [chr(code) for code in range(33, 127)]
    tokenizer = LlamaTokenizer(vocab={token: n for n, token in enumerate(tokens)}, merges=[])
    tokenizer.save_pretrained(folder / "model")
    config = llama.OspreyConfig(
        hidden_size=WIDTH, intermediate_size=512, num_hidden_layers=2, num_attention_heads=8, num_key_value_heads=2,
        vocab_size=len(tokens), max_position_embeddings=2048, mm_vision_tower=str(folder / "tower.bin"),
        mm_hidden_size=768, mm_projector_type="mlp2x_gelu", bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    model = llama.OspreyLlamaForCausalLM(config)
    shared, asking = (F.normalize(torch.randn(WIDTH, generator=drawn), dim=0) for _ in range(2))
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if "vision_tower" not in name and tensor.dim() >= 2:
                tensor.normal_(0, tensor.shape[1] ** -0.5, generator=drawn)
        for linear in (model.mask_extractor.feat_linear, model.mask_extractor.mask_linear.layers[-1]):
            linear.weight.mul_(10)
            linear.bias.copy_(WIDTH**0.5 * shared)
        model.model.embed_tokens.weight.normal_(0, 1, generator=drawn).add_(WIDTH**0.5 * asking)
        for layer in model.model.layers:  # one slow rotary pair of every head
            layer.self_attn.q_proj.weight[WIDTH // 8 - 1 :: WIDTH // 8] += 0.6 * asking
            layer.self_attn.k_proj.weight[WIDTH // 8 - 1 :: WIDTH // 8] += 0.6 * shared
    state = {name: tensor for name, tensor in model.state_dict().items() if "vision_tower" not in name}
    model.save_pretrained(folder / "model", state_dict=state)
    return folder


def chosen(weights: Path, **changed: Any) -> OspreySettings:
    fields = {"model": str(weights / "model"), "revision": "r1", "vision_tower": str(weights / "tower.bin")}
    here = {"checkout": str(OSPREY.folder), "device": "cpu", "max_new_tokens": 12}
    return OspreySettings.model_validate(fields | here | changed)


@pytest.fixture(scope="module")
def describer(weights: Path) -> OspreyDescriber:
    return OspreyDescriber(chosen(weights))


@pytest.fixture(scope="module")
def looked(describer: OspreyDescriber) -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
    """A photo's features and four masks, (4, H, W) float32."""
    rgb = photo_of(300, 420)
    y, x = np.mgrid[:300, :420]
    masks = [x < 100, y > 200, np.hypot(x - 300, y - 100) < 60, (abs(x - 200) < 9) & (abs(y - 60) < 9)]
    with torch.inference_mode():
        return *describer.encode(rgb), torch.from_numpy(np.stack(masks)).float()


@pytest.mark.checkouts
def test_the_prompt_is_that_of_osprey_s_template(describer: OspreyDescriber) -> None:
    conversation = importlib.import_module("osprey.conversation").conv_templates["osprey_v1"].copy()
    question = "Please give me a short description of <mask><pos>. Using a short phrase."
    conversation.append_message(
        conversation.roles[0], f"<image>\n\nThis provides an overview of the picture.\n{question}"
    )
    conversation.append_message(conversation.roles[1], None)
    assert conversation.get_prompt() == PROMPT
    assert conversation.sep2 == osprey.STOP == describer.tokenizer.eos_token


@pytest.mark.checkouts
@torch.inference_mode()
def test_embeddings_are_those_of_osprey_s_own_code(describer: OspreyDescriber, looked: Any) -> None:
    photo, levels, masks = looked
    model = describer.model
    for module in model.modules():
        module.tokenizer = describer.tokenizer
    tokens = importlib.import_module("osprey.mm_utils").tokenizer_image_token(PROMPT, describer.tokenizer)
    pixels = preprocess(photo_of(300, 420))
    one_each = [mask[None] for mask in masks]
    expected = model.prepare_inputs_labels_for_multimodal(
        torch.tensor([tokens] * 4), one_each, None, None, None, pixels.expand(4, -1, -1, -1)
    )[3]
    together = describer.embeddings(photo, levels, masks)
    assert together.shape == (4, len(tokens) - 1 + 1024, WIDTH)
    with numerics.nudged(model):
        bound = numerics.between(together, describer.embeddings(*describer.encode(photo_of(300, 420)), masks))
    torch.testing.assert_close(together, expected, rtol=0, atol=bound)
    alone = torch.cat([describer.embeddings(photo, levels, mask[None]) for mask in masks])
    torch.testing.assert_close(together, alone, rtol=0, atol=bound)


@pytest.mark.checkouts
@torch.inference_mode()
def test_tokens_are_the_likeliest_of_a_plain_llama_batch_or_not(describer: OspreyDescriber, looked: Any) -> None:
    photo, levels, masks = looked
    prompts = describer.embeddings(photo, levels, masks)
    together = describer.generate(prompts)
    assert together.dtype == torch.int64
    assert torch.equal(together, describer.generate(prompts))
    assert len({tuple(tokens) for tokens in together.tolist()}) == 4, "the answers depend on the region"
    plain = LlamaForCausalLM(describer.model.config).eval()
    state = describer.model.state_dict()
    plain.load_state_dict({name: state[name] for name in plain.state_dict()})
    for row, prompt in zip(together.tolist(), prompts, strict=True):
        assert describer.generate(prompt[None])[0].tolist() == row
        told: list[int] = []
        while len(told) < 5 and 2 not in told:
            known = plain.get_input_embeddings()(torch.tensor([told], dtype=torch.int64))
            logits = plain(inputs_embeds=torch.cat([prompt[None], known], dim=1)).logits
            told.append(int(logits[0, -1].argmax()))
        assert row[: len(told)] == told


@pytest.mark.checkouts
def test_a_photo_is_encoded_once_and_the_end_is_the_end(
    describer: OspreyDescriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    tower = describer.model.get_vision_tower()
    hook = tower.register_forward_hook(lambda module, pixels, features: encoded.append(len(pixels[0])))
    monkeypatch.setattr(describer, "settings", describer.settings.model_copy(update={"batch": 2}))
    rgb = photo_of(120, 160)
    masks = [np.zeros((120, 160), np.bool_) for _ in range(3)]
    for n, mask in enumerate(masks):
        mask[10 : 40 + 20 * n, 30 * n : 30 * n + 40] = True
    said = describer(rgb, iter(masks))
    hook.remove()
    assert len(said) == 3
    assert encoded == [1]
    letters = describer.tokenizer.convert_tokens_to_ids(["▁", "a", "▁", "c", "a", "t", "</s>", "d", "o"])
    assert describer.decode(letters) == "a cat"


@pytest.mark.checkouts
def test_the_tower_is_the_file_s_whether_the_weights_hold_one_or_not(
    describer: OspreyDescriber, weights: Path, tmp_path: Path
) -> None:
    file = torch.load(weights / "tower.bin", weights_only=True)
    tower = describer.model.get_vision_tower().vision_tower.state_dict()
    assert tower
    assert all(torch.equal(tensor, file[name]) for name, tensor in tower.items())
    folder = tmp_path / "whole"
    shutil.copytree(weights / "model", folder)
    held = {f"model.vision_tower.vision_tower.{name}": tensor.bfloat16() for name, tensor in tower.items()}
    save_file(load_file(folder / "model.safetensors") | held, folder / "model.safetensors", {"format": "pt"})
    whole = OspreyDescriber(chosen(weights, model=str(folder)))
    again = whole.model.get_vision_tower().vision_tower.state_dict()
    assert all(torch.equal(tensor, file[name]) for name, tensor in again.items())

    biased = next(name for name in tower if name.endswith("mlp.fc1.weight"))
    torch.save(file | {biased: file[biased] * 1.1}, tmp_path / "other.bin")
    with pytest.raises(ValueError, match="not that of") as error:
        OspreyDescriber(chosen(weights, model=str(folder), vision_tower=str(tmp_path / "other.bin")))
    one_sentence(error, biased, "other.bin")


@pytest.mark.checkouts
@pytest.mark.parametrize("fault", ["lacks", "shape", "no weights", "empty", "pickled code"])
def test_a_tower_that_is_not_whole_is_one_sentence(fault: str, weights: Path, tmp_path: Path) -> None:
    file = torch.load(weights / "tower.bin", weights_only=True)
    name = "visual.trunk.stages.1.blocks.0.gamma"
    faults: dict[str, Callable[[Path], Any]] = {
        "lacks": lambda path: torch.save({key: file[key] for key in file if key != name}, path),
        "shape": lambda path: torch.save(file | {name: file[name][:5]}, path),
        "no weights": lambda path: path.write_bytes(b"<html>not found</html>"),
        "empty": lambda path: path.touch(),
        "pickled code": lambda path: torch.save({"f": print}, path),
    }
    faults[fault](tmp_path / "tower.bin")
    with pytest.raises(ValueError, match=r"vision tower|file of weights") as error:
        OspreyDescriber(chosen(weights, vision_tower=str(tmp_path / "tower.bin")))
    one_sentence(error, str(tmp_path / "tower.bin"))


@pytest.mark.checkouts
@pytest.mark.parametrize("fault", ["lacks", "no config", "no tokenizer"])
def test_weights_that_are_not_whole_are_one_sentence(fault: str, weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(weights / "model", folder)
    if fault == "lacks":
        state = load_file(folder / "model.safetensors")
        state.pop("mask_extractor.res4.weight")
        save_file(state, folder / "model.safetensors", {"format": "pt"})
    else:
        for path in folder.glob("config.json" if fault == "no config" else "token*"):
            path.unlink()
    with pytest.raises(ValueError, match=r"res4\.weight|config\.json|tokenizer") as error:
        OspreyDescriber(chosen(weights, model=str(folder)))
    one_sentence(error, str(folder))


@pytest.mark.checkouts
def test_the_stage_runs_it_and_names_model_and_revision(weights: Path, tmp_path: Path) -> None:
    row = balls(tmp_path / "a.png", ["yellow", "blue"])
    stage = Describe(DescribeSettings(describer="osprey", osprey=chosen(weights)))
    [done] = first = stage([row])
    assert stage([row]) == first
    if isinstance(done, Row):  # what random weights say may be of no use
        assert {piece.describer for piece in done.pieces} == {"osprey 1 model@r1"}
        assert len(done.pieces) + done.counts.get("no usable description", 0) == 2
    else:
        assert done == Drop("no described region", "2 without words")


@pytest.mark.checkouts
def test_reduced_precision_is_near(describer: OspreyDescriber, weights: Path, looked: Any) -> None:
    photo, levels, masks = looked
    reduced = OspreyDescriber(chosen(weights, dtype="bfloat16"))
    with torch.inference_mode():
        exact = describer.embeddings(photo, levels, masks)
        near = reduced.embeddings(*reduced.encode(photo_of(300, 420)), masks)
    assert near.dtype == torch.bfloat16
    assert F.cosine_similarity(near.float().flatten(1), exact.flatten(1)).min() > 0.99
