"""An eval as somebody else would ship it: how loudly, from -1 to 1, a system answers."""

import numpy as np

from swarm.engines.base import GenerationParams
from swarm.evals.eval import Eval
from swarm.system.prompts import Query


class Shouting(Eval):
    """The share of capital letters, from -1 for none to 1 for capitals only."""

    name = "shouting"
    lowest, highest = -1.0, 1.0

    def params(self, dataset):
        return GenerationParams(max_new_tokens=4)

    def judge(self, dataset, examples):
        replies = yield [Query(f"{example.question} ANSWER LOUDLY") for example in examples]
        letters = [[letter for letter in reply if letter.isalpha()] for reply in replies]
        shares = [np.mean([letter.isupper() for letter in row]) if row else 0.0 for row in letters]
        return {"strict": 2 * np.array(shares) - 1}
