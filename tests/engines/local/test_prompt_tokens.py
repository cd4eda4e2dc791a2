"""Prompts that are read again are tokenised once, and never more of them held than was said."""

from swarm.engines.local.prompt_tokens import TokenMemory


def test_a_prompt_is_tokenised_once_for_each_kind():
    asked = []

    def tokenise(prompts, kind):
        asked.append((list(prompts), kind))
        return [[kind] * len(prompt) for prompt in prompts]

    memory = TokenMemory(most=9)
    assert memory.tokens(["aa", "", "aa"], 1, tokenise) == [[1, 1], [], [1, 1]]
    assert memory.tokens(["", "b", "aa"], 1, tokenise) == [[], [1], [1, 1]]
    assert memory.tokens(["aa"], 2, tokenise) == [[2, 2]]
    assert asked == [(["aa", ""], 1), (["b"], 1), (["aa"], 2)]
    assert memory.tokens(["ccccc", "aa"], 1, tokenise) == [[1] * 5, [1, 1]], "full, but whole"
    assert memory.tokens(["aa"], 2, tokenise) == [[2, 2]]
    assert asked[-2:] == [(["ccccc"], 1), (["aa"], 2)], "begun anew"
