"""What an engine answers, put together from its batches."""


def answers_of(engine, requests):
    """The completions in the order of the requests, each of which must be answered once."""
    pairs = [pair for finished in engine.generate(requests) for pair in finished]
    completions = dict(pairs)
    assert len(pairs) == len(completions) and sorted(completions) == list(range(len(requests)))
    return [completions[index] for index in range(len(requests))]
