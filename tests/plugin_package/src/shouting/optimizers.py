"""An optimizer as somebody else would ship it: a hill climber over who sits in a star."""

from swarm.evolution.candidate import candidate, candidate_of


class Climber:
    def __init__(self, config):
        pass

    def start(self, space, alone, rng):
        best = max(alone, key=lambda one: one.utility)
        return {"best": best.candidate.record(), "utility": best.utility}

    def propose(self, space, state, rng):
        nodes = list(candidate_of(state["best"]).nodes)
        if len(nodes) < min(3, space.max_nodes):
            nodes.insert(0, nodes[0])
        found = []
        for node in range(len(nodes)):
            other = space.initial[rng.integers(len(space.initial))]
            end = len(nodes) - 1
            found.append(candidate([(leaf, end) for leaf in range(end)], [*nodes[:node], other, *nodes[node + 1 :]]))
        return found

    def learn(self, state, scored):
        for one in scored:
            if one.finished and one.utility >= state["utility"]:
                state = {"best": one.candidate.record(), "utility": one.utility}
        return state

    def bar(self, state):
        return None
