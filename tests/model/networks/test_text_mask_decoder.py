"""The mask decoder on a frozen classifier: what it takes and gives, and what must hold of it whatever it has learnt."""

from __future__ import annotations

import pytest
import torch

from instructrestore.model.networks import text_mask_decoder
from instructrestore.model.networks.text_mask_decoder import (
    LEAST_CERTAIN,
    TextMaskDecoder,
    joined,
    see,
    text_vectors,
)
from instructrestore.pretrained.backbone import CLASSES

WIDTH, NAMES = 24, 5


@pytest.fixture(scope="module")
def decoder() -> TextMaskDecoder:
    torch.manual_seed(0)
    made = TextMaskDecoder(WIDTH, NAMES, 32, side=128).eval()
    vectors = torch.nn.functional.normalize(torch.randn(CLASSES + NAMES, WIDTH), dim=1)
    with torch.no_grad():
        made.learn_names(vectors[:CLASSES], vectors[CLASSES:])
    return made


def photos(count: int, height: int = 96, width: int = 128) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1))


def states(decoder: TextMaskDecoder, name: int) -> torch.Tensor:
    """Of a text that says a name, in two tokens and some padding."""
    return torch.cat([decoder.name_texts[name].expand(2, -1), torch.zeros(3, WIDTH)])[None]


@torch.no_grad()
def test_a_photo_is_seen_at_two_sizes_and_the_mask_has_a_cell_for_eight_pixels(decoder: TextMaskDecoder) -> None:
    seen = decoder.see(photos(2))
    assert seen.fine.shape[-2:] == (16, 16)  # 96 is stretched to 128, a multiple of 64
    assert seen.near.shape == (2, CLASSES, 4, 4) and seen.far.shape == (2, CLASSES, 2, 2)
    torch.testing.assert_close(seen.near.sum(1), torch.ones(2, 4, 4))
    assert decoder(decoder.look(photos(2)), states(decoder, 0).expand(2, -1, -1)).shape == (2, 1, 16, 16)
    large = see(decoder.backbone, photos(1, 300, 400), 128)
    assert large.fine.shape[-2:] == (16, 16)  # the long side of whatever size is seen at 128


@torch.no_grad()
def test_photos_in_a_batch_and_rows_that_share_one_are_as_alone(decoder: TextMaskDecoder) -> None:
    both = decoder.look(photos(2))
    for name, row in ((0, 0), (1, 1), (2, 1)):
        rows = both.rows(torch.tensor([row]))
        alone = decoder.look(photos(2)[row : row + 1])
        torch.testing.assert_close(
            decoder(rows, states(decoder, name)), decoder(alone, states(decoder, name)), rtol=1e-3, atol=1e-3
        )


@torch.no_grad()
def test_a_text_is_the_mean_of_its_tokens_without_the_padding(decoder: TextMaskDecoder) -> None:
    torch.testing.assert_close(text_vectors(states(decoder, 3))[0], decoder.name_texts[3])
    assert torch.isfinite(text_vectors(torch.zeros(1, 4, WIDTH))).all()  # a text of nothing


@torch.no_grad()
def test_no_pixel_is_more_certain_than_that_the_thing_is_there(decoder: TextMaskDecoder) -> None:
    where = torch.randn(2, 3, 4, 4)
    certain = torch.tensor([[9.0, -9.0, LEAST_CERTAIN], [9.0, 9.0, 9.0]])
    logits = joined(where, certain)
    torch.testing.assert_close(logits[0, 0], where[0, 0])
    assert (logits[0, 1] < 0).all() and not (logits[0, 2] > 0).any()


def test_the_backbone_does_not_learn_and_stays_in_evaluation(decoder: TextMaskDecoder) -> None:
    decoder.train()
    assert not decoder.backbone.training and decoder.mix_fine.training
    assert not any(parameter.requires_grad for parameter in decoder.backbone.parameters())
    where, certain = decoder.asked(*decoder.named(decoder.see(photos(1))), decoder.name_texts[None])
    (where.mean() + certain.mean()).backward()
    learning = {name for name, own in decoder.named_parameters() if own.grad is not None}
    assert {"of_text.weight", "own", "presence.weight", "fine.project.weight"} <= learning
    decoder.zero_grad()
    decoder.eval()


@torch.no_grad()
def test_a_word_is_sought_where_the_name_nearest_to_it_is(decoder: TextMaskDecoder) -> None:
    seen = decoder.look(photos(1))
    near = decoder.name_texts[2] + 0.1 * torch.randn(WIDTH, generator=torch.Generator().manual_seed(2))
    masks = [decoder(seen, states(decoder, name)) for name in range(NAMES)]
    own = decoder(seen, near.expand(1, 2, -1))
    gaps = [float((own - mask).abs().mean()) for mask in masks]
    assert min(range(NAMES), key=gaps.__getitem__) == 2


@torch.no_grad()
def test_it_looks_once_while_it_learns(decoder: TextMaskDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    sides: list[int | None] = []
    see_once = decoder.see
    monkeypatch.setattr(decoder, "see", lambda photos, side=None: sides.append(side) or see_once(photos, side))
    decoder.train()
    decoder.look(photos(1))
    decoder.eval()
    assert len(sides) == 1
    decoder.look(photos(1))
    assert sides[1:] == [None, 128, 160]


@torch.no_grad()
def test_mirrored_looks_are_mirrored_back(decoder: TextMaskDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_mask_decoder, "LOOKS", ((1.0, False), (1.0, True)))
    one, other = (decoder(decoder.look(each), states(decoder, 1)) for each in (photos(1), photos(1).flip(-1)))
    torch.testing.assert_close(one, other.flip(-1), rtol=1e-3, atol=1e-3)
