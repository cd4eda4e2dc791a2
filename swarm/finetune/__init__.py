"""How experts are made: a recipe names bases and data, TRL and PEFT train a LoRA adapter for each expert of it."""
