"""Random two-layer models of many architectures for tests of what is made of their logits."""

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

VOCABULARY = 24
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 2,
    "initializer_range": 0.6,
}
LEARNED = {"vocab_size": VOCABULARY, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 96, "eos_token_id": 1,
           "bos_token_id": 1, "initializer_range": 0.6}  # fmt: skip
MIXED = {"sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"]}
LONG = {
    "rope_type": "longrope",
    "short_factor": [1.0, 1.1],
    "long_factor": [2.0, 3.0],
    "rope_theta": 10_000.0,
    "partial_rotary_factor": 1.0,
}
SIDE_BY_SIDE = {
    "llama": SIZES,
    "gpt2": LEARNED,
    "qwen2": SIZES,
    "qwen3": SIZES,
    "gemma": SIZES,
    "gemma2": SIZES | MIXED,
    "gemma3_text": SIZES | MIXED,
    "mistral": SIZES | {"sliding_window": 6},
    "phi3": SIZES | {"sliding_window": 6},
    "opt": {key: SIZES[key] for key in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")}
    | {"ffn_dim": 32, "max_position_embeddings": 96, "word_embed_proj_dim": 16, "init_std": 0.6, "pad_token_id": 0},
}
ONE_BY_ONE = {
    "bloom": {"vocab_size": VOCABULARY, "hidden_size": 16, "n_layer": 2, "n_head": 2, "initializer_range": 0.6},
    "mpt": {"vocab_size": VOCABULARY, "d_model": 16, "n_layers": 2, "n_heads": 2, "initializer_range": 0.6},
    "mamba": {"vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 2, "state_size": 4,
              "initializer_range": 0.6},
    "phi3-long": SIZES | {"rope_parameters": LONG, "original_max_position_embeddings": 12, "initializer_range": 0.3},
}  # fmt: skip
ENCODER_DECODERS = {
    "t5": {"vocab_size": VOCABULARY, "d_model": 16, "d_kv": 4, "d_ff": 32, "num_layers": 2, "num_heads": 4,
           "decoder_start_token_id": 0, "pad_token_id": 0, "initializer_factor": 2.0},
    "marian": {"vocab_size": VOCABULARY, "d_model": 16, "encoder_layers": 2, "decoder_layers": 2,
               "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
               "max_position_embeddings": 64, "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0,
               "forced_eos_token_id": None, "init_std": 0.6},
    "m2m_100": {"vocab_size": VOCABULARY, "d_model": 16, "encoder_layers": 2, "decoder_layers": 2,
                "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32,
                "decoder_ffn_dim": 32, "max_position_embeddings": 64, "pad_token_id": 0, "eos_token_id": 1,
                "decoder_start_token_id": 1, "init_std": 0.6},
}  # fmt: skip

# What logits may differ by if nothing but the order of sums does, as between batches, threads or processors. In float32
# about ten products of up to 32 terms follow each other, each rounded by up to 32 * 2**-24 of what it adds up, and
# logits reach 10; in float64 what is left is the rounding to float32, at the end and in the normalisation of layers.
APART = {torch.float32: {"atol": 2e-4, "rtol": 0}, torch.float64: {"atol": 1e-5, "rtol": 1e-5}}
_made = {}


def model_of(family, seed=0, **options):
    """The same model for the same arguments, so not to be changed."""
    key = (family, seed, *sorted(options.items()))
    if key not in _made:
        torch.manual_seed(seed)
        sizes = (SIDE_BY_SIDE | ONE_BY_ONE | ENCODER_DECODERS)[family]
        auto = AutoModelForSeq2SeqLM if family in ENCODER_DECODERS else AutoModelForCausalLM
        config = AutoConfig.for_model(family.removesuffix("-long"), **sizes)
        _made[key] = auto.from_config(config, **options).eval()
    return _made[key]
