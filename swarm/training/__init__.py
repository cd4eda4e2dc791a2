"""LoRA experts made: a recipe names bases and data, TRL and PEFT train an adapter for each expert of it."""
