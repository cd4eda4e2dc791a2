"""Real models of a few thousand parameters, made on the fly, so that tests run the true pipeline."""

from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

WORDS = ["<pad>", "<eos>", "<bos>", "<unk>", "red", "green", "blue", "yes", "no", "one", "two", "three", "what", "is"]


def make_base(folder: Path, seed: int = 0) -> Path:
    """A random two-layer Llama with a word tokenizer."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
        initializer_range=0.5,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    words = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = WhitespaceSplit()
    special = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(folder)
    return folder


def make_adapter(folder: Path, base: Path, seed: int, base_name: str | None = None, **lora: object) -> Path:
    """A random LoRA adapter of the base as a PEFT folder; `lora` goes to LoraConfig."""
    torch.manual_seed(seed)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj", "down_proj"]} | lora
    model = get_peft_model(LlamaForCausalLM.from_pretrained(base), LoraConfig(task_type="CAUSAL_LM", **settings))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    model.peft_config["default"].base_model_name_or_path = base_name or str(base)
    model.save_pretrained(folder)
    return folder


def make_pool(root: Path, count: int = 3, **lora: object) -> Path:
    """A base and `count` experts below `root`; returns the expert directory."""
    base = make_base(root / "base")
    for i in range(count):
        make_adapter(root / "experts" / f"expert_{i}", base, seed=i + 1, base_name="../../base", **lora)
    return root / "experts"
