"""The roster says what looking at every worker would say."""

from hypothesis import given
from hypothesis import strategies as st

from swarm.workers.roster import BUSY, GONE, IDLE, STARTING, Roster

PATIENCE = {STARTING: 7.0, BUSY: 3.0}


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([BUSY, GONE, IDLE, STARTING]), st.integers(0, 4))))
def test_it_is_what_looking_at_everybody_says(changes):
    roster, now = Roster(PATIENCE), 0.0
    states: dict[int, tuple[str, float]] = {}
    for number, state, later in changes:
        now += later
        roster.put(number, state, now)
        states[number] = (state, now)
        ends = {number: since + PATIENCE[state] for number, (state, since) in states.items() if state in PATIENCE}
        assert roster.idle == sorted(number for number, (state, _) in states.items() if state == IDLE)
        assert roster.next_end() == min(ends.values(), default=None)
        assert roster.overdue(now) == sorted((n, states[n][1]) for n, end in ends.items() if end <= now)
        assert roster.count(STARTING) == sum(state == STARTING for state, _ in states.values())
        assert roster.count(STARTING, BUSY) == len(ends)
        assert roster.all_gone() == all(state == GONE for state, _ in states.values())
        assert roster[number] == state
