"""No test reaches the network, a tracker, or the user's own caches."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "disabled"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the models are tiny, and tests run side by side
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
