"""A tiny random Qwen2 with a tokenizer of its own, saved as transformers saves models: nothing is downloaded."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from instructrestore.dataengine.noun_phrases import prompt

CONTEXT = 2048
_END = "<|im_end|>"
_SPECIAL = ["<|endoftext|>", "<|im_start|>", _END]
# Qwen2.5's form of a chat, without its tools.
_CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def save_tiny_qwen(folder: Path, seed: int = 0) -> None:
    """Two layers, 64 channels in heads of 32 (vLLM on a CPU takes no smaller ones), some 400 tokens: byte-level BPE
    trained on the prompt, as in Qwen's own tokenizer."""
    words = [message["content"] for message in prompt.messages("the sky is blue above a small white house")]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    # Of the 256 bytes those of plain text: what a random model writes is then text too, as JSON wants it.
    alphabet = [chr(code) for code in range(33, 127)] + ["Ġ", "Ċ"]
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=_SPECIAL, initial_alphabet=alphabet)
    bpe.train_from_iterator([*words, json.dumps(prompt.SCHEMA)], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token=_END, pad_token=_SPECIAL[0], model_max_length=CONTEXT
    )
    tokenizer.chat_template = _CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    end = tokenizer.convert_tokens_to_ids(_END)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=CONTEXT,
        eos_token_id=end,
        bos_token_id=None,
        pad_token_id=0,
        tie_word_embeddings=False,
    )
    torch.manual_seed(seed)
    Qwen2ForCausalLM(config).save_pretrained(folder, safe_serialization=True)
