"""Models that are tables: what comes next depends on the last letter of a text and on nothing else."""

import random

import torch
from fusing import fusion_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

LETTERS = "abcdefghijklmnopqrstuvwxyz"
END = "</s>"
NEVER = -30.0  # logit of a token that is not in the table


def letters_tokenizer(seed, merges=(), byte_level=True):
    """The letters in an order of their own, and pairs of them that are one token where they stand together."""
    order = random.Random(seed).sample(LETTERS, len(LETTERS))
    pieces = [END, *order, *merges] if byte_level else [*order, *merges, END]
    vocabulary = {piece: token for token, piece in enumerate(pieces)}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[tuple(pair) for pair in merges]))
    if byte_level:
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.decoder = decoders.ByteLevel()
    else:
        inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
        inner.decoder = decoders.Metaspace(prepend_scheme="never")
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=END)


def words_tokenizer(words, seed):
    """Whole words, in an order of its own."""
    order = ["<unk>", *random.Random(seed).sample(words, len(words))]
    inner = Tokenizer(models.WordLevel({word: token for token, word in enumerate(order)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>")


def table_model(tokenizer, table, embeddings=None):
    """A Llama with exactly these logits: `table[last letter][next letter]`, `NEVER` for all other tokens.

    Its one layer adds nothing to the embeddings, which are orthogonal unless they are given.
    """
    size = len(tokenizer)
    embeddings = torch.eye(size) if embeddings is None else embeddings
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=embeddings.shape[1],
        intermediate_size=2,
        num_hidden_layers=1,
        num_attention_heads=1,
        head_dim=2,
        max_position_embeddings=64,
        rms_norm_eps=1e-12,
        tie_word_embeddings=False,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = LlamaForCausalLM(config).eval()
    layer, own = model.model.layers[0], model.get_input_embeddings().weight.data
    for silent in (layer.self_attn.o_proj, layer.mlp.down_proj):
        silent.weight.data.zero_()
    own.copy_(embeddings)
    wanted = torch.full((size, size), NEVER)
    for token in range(size):
        for letter, logit in table.get(tokenizer.convert_ids_to_tokens(token)[-1], {}).items():
            wanted[token, tokenizer.convert_tokens_to_ids(letter)] = logit
    normed = own / own.pow(2).mean(-1, keepdim=True).sqrt()
    model.lm_head.weight.data = (torch.linalg.pinv(normed.double()) @ wanted.double()).T.float()
    return model


def table_fusion_model(name, tokenizer, table, embeddings=None):
    """Such a model as a model of a fusion."""
    return fusion_model(name, table_model(tokenizer, table, embeddings), tokenizer)


def half_a_table(successors, known, sure, unsure, seed):
    """A table that is right after the letters in `known`, with probability `sure`.

    After the others it holds another letter likeliest, `unsure[0]`, and the right one next, `unsure[1]`. What is left
    is shared by all other letters.
    """
    draw = random.Random(seed)
    table = {}
    for letter, right in successors.items():
        wrong = draw.choice([other for other in LETTERS if other not in (letter, right)])
        chances = {right: sure} if letter in known else {wrong: unsure[0], right: unsure[1]}
        rest = (1 - sum(chances.values())) / (len(LETTERS) - len(chances))
        table[letter] = {other: torch.tensor(chances.get(other, rest)).log().item() for other in LETTERS}
    return table
