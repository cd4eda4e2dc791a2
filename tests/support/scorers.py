"""Tiny BERT, BART and DeBERTa models with real tokenizers, for metrics and rankers that ask such models."""

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    DebertaV2Config,
    DebertaV2Model,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5ForConditionalGeneration,
)

WORDS = "the cat dog sat ran on under mat door red green blue yes no one two three is what a by . , ?".split()
BERT_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
BART_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def word_tokenizer(special, ends, roles, extra=()):
    """A word tokenizer that puts `ends` around a text."""
    vocabulary = {word: index for index, word in enumerate([*special, *WORDS, *extra])}
    made = Tokenizer(WordLevel(vocabulary, unk_token=roles["unk_token"]))
    made.pre_tokenizer = Whitespace()
    first, last = ends
    made.post_processor = TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {last} $B {last}",
        special_tokens=[(first, vocabulary[first]), (last, vocabulary[last])],
    )
    return PreTrainedTokenizerFast(tokenizer_object=made, **roles)


def bert_tokenizer(extra=()):
    roles = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return word_tokenizer(BERT_SPECIAL, ("[CLS]", "[SEP]"), roles | {"mask_token": "[MASK]"}, extra)


def bart_tokenizer(extra=()):
    roles = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    return word_tokenizer(BART_SPECIAL, ("<s>", "</s>"), roles | {"mask_token": "<mask>"}, extra)


def make_bert(folder, seed=0, window=24):
    """A random three-layer BERT encoder."""
    torch.manual_seed(seed)
    tokenizer = bert_tokenizer()
    config = BertConfig(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=3, num_attention_heads=2,
                        intermediate_size=32, max_position_embeddings=window, initializer_range=0.5)  # fmt: skip
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_bart(folder, seed=0, window=24):
    """A random two-layer BART."""
    torch.manual_seed(seed)
    tokenizer = bart_tokenizer()
    config = BartConfig(vocab_size=len(tokenizer), d_model=16, encoder_layers=2, decoder_layers=2,
                        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32,
                        max_position_embeddings=window, init_std=0.5, pad_token_id=1, bos_token_id=0, eos_token_id=2,
                        decoder_start_token_id=2, forced_eos_token_id=2)  # fmt: skip
    BartForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_t5(folder, seed=0):
    """A random two-layer T5."""
    torch.manual_seed(seed)
    tokenizer = bart_tokenizer()
    config = T5Config(vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
                      decoder_start_token_id=1, pad_token_id=1, eos_token_id=2, initializer_factor=2.0)  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_roberta(folder, seed=0):
    """A random two-layer RoBERTa with 26 positions, whose tokens begin at the third."""
    torch.manual_seed(seed)
    tokenizer = bart_tokenizer()
    config = RobertaConfig(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                           intermediate_size=32, max_position_embeddings=26, pad_token_id=1, bos_token_id=0,
                           eos_token_id=2, initializer_range=0.5)  # fmt: skip
    RobertaModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_sentence_model(folder, seed=0):
    """A BERT with mean pooling as sentence-transformers keeps it."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    words = Transformer(str(make_bert(folder.with_name("words"), seed)))
    SentenceTransformer(modules=[words, Pooling(16)], device="cpu").save(str(folder))
    return folder


MARKS = ("<|source|>", "<|candidate1|>", "<|candidate2|>")


def make_pairrm(folder, seed=0):
    """A random encoder with PairRM's head, in the layout of the published one."""
    torch.manual_seed(seed)
    tokenizer = bert_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": list(MARKS)})
    token_ids = dict(zip(("source_prefix_id", "cand1_prefix_id", "cand2_prefix_id"),
                      tokenizer.convert_tokens_to_ids(MARKS), strict=True))  # fmt: skip
    config = DebertaV2Config(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, position_buckets=8, relative_attention=True, share_att_key=True,
        pos_att_type=["p2c", "c2p"], norm_rel_ebd="layer_norm", position_biased_input=False, type_vocab_size=0,
        initializer_range=0.5, n_tasks=2, drop_out=0.05, architectures=["DebertaV2PairRM"], **token_ids,
    )  # fmt: skip
    encoder = DebertaV2Model(config)
    head = [torch.nn.Linear(32, 16), torch.nn.Linear(16, 2)]
    tensors = {f"pretrained_model.{name}": tensor for name, tensor in encoder.state_dict().items()}
    for number, layer in zip((1, 4), head, strict=True):
        tensors |= {f"head_layer.{number}.{name}": tensor.detach() * 3 for name, tensor in layer.named_parameters()}
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    return folder


def make_classifier(folder, labels=1, seed=0, window=24, extra=()):
    """A random BERT with a head that classifies; `extra` are further words that it knows."""
    torch.manual_seed(seed)
    tokenizer = bert_tokenizer(extra)
    config = BertConfig(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                        intermediate_size=32, max_position_embeddings=window, initializer_range=0.5,
                        num_labels=labels)  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_fuser(folder, seed=0):
    """A random T5 whose tokenizer knows GenFuser's marks and the words of its format."""
    torch.manual_seed(seed)
    marks = [f"<extra_id_{index}>" for index in range(4)]
    words = "Instruction Input Candidate Summarize candidates into better for the given instruction : 0 1 2 3".split()
    tokenizer = bart_tokenizer([word for word in words if word not in WORDS])
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    config = T5Config(vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
                      decoder_start_token_id=1, pad_token_id=1, eos_token_id=2, initializer_factor=2.0)  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
