"""Who gets what: shares of what is not answered, long ways first, experts that are resident."""

import pytest

from swarm.engines.base import GenerationParams
from swarm.engines.executor import IdleWorker
from swarm.system.request_queue import FEWEST_ROWS, Queue

PARAMS = GenerationParams(4)


def filled(workers, *rows):
    """A queue with (member, count, ahead) each."""
    queue = Queue(workers)
    for turn, (member, count, ahead) in enumerate(rows):
        for number in range(count):
            queue.add((member, PARAMS), f"{member} {turn} {number}".encode(), (member, ahead), ahead)
    return queue


def taken(queue, worker=0, resident=""):
    """What a worker is given, as (member, ahead) of each row, and sent under its own number."""
    batch = queue.take(IdleWorker(worker, resident))
    if batch:
        queue.sent(worker, batch)
    return [waiting for _, waiting in batch]


def test_one_worker_takes_all_of_the_member_with_most_rows_whatever_is_ahead():
    queue = filled(1, ("a", 3, 5), ("b", 40, 0), ("a", 2, 0))
    assert taken(queue) == [("b", 0)] * 40
    assert taken(queue) == [("a", 5)] * 3 + [("a", 0)] * 2
    assert taken(queue) == [] and queue.ready == 0 and len(queue) == 45


def test_a_share_is_of_all_that_is_not_answered():
    queue = filled(4, ("a", 200, 0))
    shares = [len(taken(queue, worker)) for worker in range(4)]
    assert shares == [50] * 4, "of what is ready alone the last would be given 21"


def test_a_share_is_worth_a_pass():
    queue = filled(64, ("a", 100, 0))
    assert len(taken(queue)) == FEWEST_ROWS


@pytest.mark.parametrize("first", [0, 1])
def test_long_ways_go_first_between_members_and_within_one(first):
    rows = [("a", 20, 0), ("b", 20, 3)]
    queue = filled(2, *(rows if first else rows[::-1]))
    assert taken(queue) == [("b", 3)] * 20
    queue = filled(4, ("a", 40, first), ("a", 10, 2))
    assert taken(queue) == [("a", 2)] * 10 + [("a", first)] * 6


def test_many_rows_outweigh_a_somewhat_longer_way():
    assert taken(filled(2, ("a", 60, 1), ("b", 10, 3)))[0] == ("a", 1)


def test_whoever_asks_for_the_same_with_more_ahead_pulls_it_forward():
    queue = filled(2, ("a", 40, 0))
    group, key = ("a", PARAMS), b"a 0 39"
    assert queue.add(group, key, "another", 2) == ("a", 0), "it waits already"
    assert queue.add(group, key, "another", 1) == ("a", 0)
    assert queue.ready == 40
    assert queue.take(IdleWorker(0))[0][0] == key
    assert queue.add(group, key, "another", 5) == ("a", 0) and queue.ready == 20, "and when it is under way"


def test_a_resident_member_goes_before_and_one_elsewhere_after():
    queue = filled(3, ("a", 20, 1), ("b", 20, 1), ("c", 20, 1))
    assert taken(queue, 0, "b")[0] == ("b", 1)
    assert taken(queue, 1)[0] == ("a", 1)
    assert taken(queue, 2)[0] == ("c", 1)
    assert len(queue) == 60 and not queue.ready
    assert [key for key, _ in queue.answered(0, [0, 19])] == [b"b 1 0", b"b 1 19"]
    with pytest.raises(KeyError):
        queue.answered(0, [0])
