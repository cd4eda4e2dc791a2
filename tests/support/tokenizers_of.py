"""Real tokenizers, and tiny ones of every kind that are trained on the fly."""

import json
import os
from functools import cache
from pathlib import Path

import pytest
from repository import ROOT
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, ByT5Tokenizer, PreTrainedTokenizerFast

SHARED = Path(os.environ.get("H_SWARM_SHARED", ROOT.parent / "shared")) / "tokenizers"
REAL = ("llama2", "gpt2")
TEXTS = [
    "The quick brown fox jumps over the lazy dog. It isn't 1234 or 5,678!\n\n  def f(x):\n    return x + 1\n",
    "naïve café déjà vu, où est-ce? Größe, straße; 東京は日本の首都です。 北京是中国的首都。 😀😃👍🏽",
    "Question: what is the capital of France?\nAnswer: Paris\n\nQuestion: 12 + 30 = ?\nAnswer: 42\n",
    "Zürich   has    runs of     spaces\tand tabs; 2024-01-02 03:04:05.678 a b c d e f",
] * 2
SPECIAL = ["<s>", "</s>", "<unk>"]
GROUPS = r"(?i:'s|'t|'re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def _wrapped(tokenizer, bos=True, eos=False):
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> " * bos + "$A" + " </s>" * eos,
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("<s>", "</s>")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="</s>"
    )


def _bytes():
    return [f"<0x{byte:02X}>" for byte in range(256)]


def _metaspace(kind):
    """SentencePiece-like BPE with byte fallback; spaces are written as published Llama, Mistral and Gemma do."""
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=SPECIAL + _bytes(), show_progress=False)
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.train_from_iterator([text.replace("\n", " ") for text in TEXTS], trainer)
    # bytes are pieces like others, or decoding would skip them
    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] in SPECIAL]
    tokenizer = Tokenizer.from_str(json.dumps(content))
    replace = normalizers.Replace(" ", "▁")
    if kind == "first":
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    elif kind == "prepend":
        tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Sequence([normalizers.Prepend("▁"), replace]), None
    else:
        tokenizer.normalizer = replace
        tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
        tokenizer.add_tokens([AddedToken("\n" * count, normalized=False) for count in (1, 2, 3)])
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(parts[:3] if kind == "bare" else parts)
    return _wrapped(tokenizer)


def _byte_level(groups, prefix):
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer = Tokenizer(models.BPE())
    if groups:
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(GROUPS), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.add_tokens(["<tool call>", "  \n"])
    return _wrapped(tokenizer, bos=not prefix)


def _unigram(normalized):
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False, initial_alphabet=["▁"]
    )
    tokenizer = Tokenizer(models.Unigram())
    if normalized:
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(TEXTS, trainer)
    return _wrapped(tokenizer, bos=False, eos=True)


def _words(pieces):
    if pieces:
        tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
        tokenizer.normalizer = normalizers.BertNormalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=SPECIAL, show_progress=False)
    else:
        tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        trainer = trainers.WordLevelTrainer(vocab_size=300, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    return _wrapped(tokenizer)


TINY = {
    "metaspace": lambda: _metaspace("first"),
    "metaspace-prepend": lambda: _metaspace("prepend"),
    "metaspace-bare": lambda: _metaspace("bare"),
    "byte-level": lambda: _byte_level(groups=False, prefix=False),
    "byte-level-prefix": lambda: _byte_level(groups=False, prefix=True),
    "byte-level-groups": lambda: _byte_level(groups=True, prefix=False),
    "unigram": lambda: _unigram(normalized=False),
    "unigram-normalized": lambda: _unigram(normalized=True),
    "word-pieces": lambda: _words(pieces=True),
    "words": lambda: _words(pieces=False),
    "slow-bytes": ByT5Tokenizer,
    "embedded": lambda: AutoTokenizer.from_pretrained(ROOT / "data" / "embedded" / "base"),
}
ALL = (*REAL, *TINY)


@cache
def tokenizer_of(name):
    """The same tokenizer for the same name, so not to be changed."""
    if name in TINY:
        return TINY[name]()
    if not (SHARED / name).is_dir():
        pytest.skip(f"needs the real tokenizer {name} (set H_SWARM_SHARED)")
    return AutoTokenizer.from_pretrained(SHARED / name)
