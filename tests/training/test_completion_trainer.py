"""The trainer's loss on a CPU is TRL's, whatever part of the rows is learned."""

import datasets
import numpy as np
import pytest
import torch
from finetuning import BASE
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from swarm.training.completion_trainer import CompletionTrainer
from swarm.training.tokens import IGNORED


def trainer(kind, folder, accumulation=1):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    ids = [rng.integers(4, 90, size=length).tolist() for length in (9, 12, 5, 20)]
    starts = [7, 3, 4, 20]  # the last row teaches nothing
    labels = [[IGNORED] * start + row[start:] for row, start in zip(ids, starts, strict=True)]
    return kind(
        model=AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32),
        args=SFTConfig(
            output_dir=str(folder),
            use_cpu=True,
            bf16=False,
            max_length=None,
            report_to="none",
            max_steps=2,
            per_device_train_batch_size=2,
            gradient_accumulation_steps=accumulation,
            learning_rate=1e-2,
            disable_tqdm=True,
            save_strategy="no",
            logging_steps=1,
        ),
        train_dataset=datasets.Dataset.from_dict({"input_ids": ids, "labels": labels}),
        processing_class=AutoTokenizer.from_pretrained(BASE),
        peft_config=LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj", "v_proj"]),
    )


@pytest.mark.parametrize("accumulation", [1, 2])
def test_losses_are_trl_s(tmp_path, accumulation):
    found = []
    for kind in (SFTTrainer, CompletionTrainer):
        made = trainer(kind, tmp_path, accumulation)
        made.train()
        found.append([entry["loss"] for entry in made.state.log_history if "loss" in entry])
    assert len(found[0]) == 2
    np.testing.assert_allclose(found[1], found[0], rtol=1e-3)


def test_a_batch_projects_only_the_places_of_answers(tmp_path):
    made, asked = trainer(CompletionTrainer, tmp_path), []
    head = made.model.get_base_model().get_output_embeddings()
    head.register_forward_hook(lambda module, given, output: asked.append(output.shape[:2]))
    batch = next(iter(made.get_train_dataloader()))
    made.compute_loss(made.model, batch)
    learned = (batch["labels"][:, 1:] != IGNORED).any(dim=0).sum()
    assert asked == [(2, learned)] and learned < batch["labels"].shape[1] - 1
