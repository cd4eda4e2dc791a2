"""The engine of transformers models in this process: KV cache, prefill, decode, LoRA batches."""
