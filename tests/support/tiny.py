"""Real models of a few thousand parameters, made on the fly, so that tests run the true pipeline."""

import json
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

WORDS = ["<pad>", "<eos>", "<bos>", "<unk>", "red", "green", "blue", "yes", "no", "one", "two", "three", "what", "is"]
SIZES = {
    "vocab_size": len(WORDS),
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 2,
    "initializer_range": 0.5,
}
FAMILIES = {
    "llama": SIZES,
    "qwen3": SIZES | {"head_dim": 8, "tie_word_embeddings": True},
    "gemma": SIZES | {"head_dim": 8},
    # like the published one: no pad token, learned positions
    "gpt2": {"vocab_size": len(WORDS), "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 96,
             "bos_token_id": 1, "eos_token_id": 1, "initializer_range": 0.5},
}  # fmt: skip
ADAPTED = {"gpt2": ["c_attn", "c_fc"]}


def make_base(folder: Path, seed: int = 0, family: str = "llama") -> Path:
    """A random two-layer model of a family with a word tokenizer: what a base is, and what a full-weight expert is."""
    torch.manual_seed(seed)
    config = AutoConfig.for_model(family, **FAMILIES[family])
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    words = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = WhitespaceSplit()
    special = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
    if family == "gpt2":
        del special["pad_token"]
    PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(folder)
    return folder


def make_adapter(folder: Path, base: Path, seed: int, base_name: str | None = None, **lora: object) -> Path:
    """A random LoRA adapter of the base as a PEFT folder; `lora` goes to LoraConfig."""
    torch.manual_seed(seed)
    bare = AutoModelForCausalLM.from_pretrained(base)
    adapted = ADAPTED.get(bare.config.model_type, ["q_proj", "v_proj", "down_proj"])
    settings = {"r": 4, "lora_alpha": 8, "target_modules": adapted} | lora
    settings["fan_in_fan_out"] = bare.config.model_type == "gpt2"
    model = get_peft_model(bare, LoraConfig(task_type="CAUSAL_LM", **settings))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    model.peft_config["default"].base_model_name_or_path = base_name or str(base)
    model.save_pretrained(folder)
    return folder


def make_pool(root: Path, count: int = 3, family: str = "llama", **lora: object) -> Path:
    """A base and `count` adapters of it below `root`; returns the expert directory."""
    base = make_base(root / "base", family=family)
    for i in range(count):
        make_adapter(root / "experts" / f"expert_{i}", base, seed=i + 1, base_name="../../base", **lora)
    return root / "experts"


def make_models(root: Path, count: int = 3, family: str = "llama") -> Path:
    """`count` full-weight experts below `root`; returns the expert directory."""
    for i in range(count):
        make_base(root / "experts" / f"expert_{i}", seed=i + 1, family=family)
    return root / "experts"


def change_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
