"""Small real tokenizers of every kind, trained on the spot, and where the two large ones lie."""

import json
from functools import cache

import pytest
from repository import SHARED
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from swarm.members.fusion.vocabulary import read_vocabulary

LINES = [
    "the cat sat on the mat, and the dog sat by the door.",
    "two  cats and three dogs\nran over the café — naïve, isn't it?",
    "def answer(x):\n    return x + 1\t# ok",
    "one, two, three: 12 + 30 = 42; emoji 🙂 here",
] * 4
SPECIAL = ["<unk>", "<s>", "</s>", "<|turn|>"]
ROLES = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}


@cache
def real_tokenizer(name):
    """The published tokenizer of that name (gpt2, llama2), not to be changed; skips where it is not at hand."""
    folder = SHARED / "tokenizers" / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here")
    return AutoTokenizer.from_pretrained(folder)


@cache
def real_vocabulary(name):
    """What its tokens say."""
    return read_vocabulary(real_tokenizer(name), name)


def byte_level_bpe(lines=LINES, size=400):
    """As GPT-2's: one end-of-text token in all roles."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<|endoftext|>", "<|turn|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=end, bos_token=end, pad_token=end, extra_special_tokens=["<|turn|>"]
    )


def sentence_piece_bpe(lines=LINES, size=500, newline_piece=False):
    """As Llama-2's: "▁", byte fallback, "<0x0A>" for the newline; or with a piece for it, as Gemma's."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    letters = {letter for line in lines for letter in line if letter.isascii() and letter not in " \n"}
    # letters that are equally rare would be chosen anew by every process if only their number were given
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=special,
        show_progress=False,
        initial_alphabet=["▁", *sorted(letters)],
        limit_alphabet=len(letters) + 1,
    )
    tokenizer.train_from_iterator([line.replace("\n", " ") for line in lines], trainer)
    # the trainer knows no ordinary pieces but letters: the byte pieces are made ordinary afterwards
    rules = json.loads(tokenizer.to_str())
    rules["added_tokens"] = [added for added in rules["added_tokens"] if added["content"] in SPECIAL]
    if newline_piece:
        rules["model"]["vocab"]["\n"] = len(rules["model"]["vocab"])
    made = Tokenizer.from_str(json.dumps(rules))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.pre_tokenizer = None
    return PreTrainedTokenizerFast(tokenizer_object=made, extra_special_tokens=["<|turn|>"], **ROLES)


def unigram(lines=LINES, size=200):
    """As T5's: Metaspace at both ends."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=size, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(lines, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, extra_special_tokens=["<|turn|>"], **ROLES)


def word_piece(lines=LINES, size=150, decoder=True):
    """As BERT's: "##" goes on."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if decoder:
        tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(lines, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, extra_special_tokens=["<|turn|>"], **ROLES)


def words(vocabulary=("<unk>", "<s>", "</s>", "the", "cat", "sat"), split=True, decoder=None):
    """Whole words, without a decoder."""
    tokenizer = Tokenizer(models.WordLevel({word: token for token, word in enumerate(vocabulary)}, unk_token="<unk>"))
    if split:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit()])
    if decoder is not None:
        tokenizer.decoder = decoder
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **ROLES)
