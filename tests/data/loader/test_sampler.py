"""Batches as a pure function of seed, stream and batch number."""

from __future__ import annotations

from collections import Counter
from itertools import chain, islice

import pytest

from metaalign_det.data.loader.sampler import StreamSampler, aspect_groups

GROUPS = [0, 1, 1, 0, 1, 1, 0, 1, 1, 1, 0]


def batches(count=40, groups=GROUPS, batch_size=4, **options):
    options = {"seed": 5, "stream": 0, **options}
    return list(islice(StreamSampler(groups, batch_size, **options), count))


def test_same_arguments_same_batches_and_others_differ():
    assert batches() == batches()
    assert batches() != batches(seed=6)
    assert batches() != batches(stream=1)


def test_zero_counters_do_not_collide():
    runs = [batches(seed=s, stream=t) for s in (0, 1) for t in (0, 1)]
    assert all(a != b for n, a in enumerate(runs) for b in runs[:n])


@pytest.mark.parametrize("labels", [None, [0, 1, 2] * 3 + [2, 2]])
@pytest.mark.parametrize("start", [0, 1, 17])
def test_started_late_equals_started_at_zero(start, labels):
    assert batches(start=start, labels=labels)[:20] == batches(60, labels=labels)[start:][:20]


@pytest.mark.parametrize("world_size", [2, 4])
def test_shares_of_all_processes_are_the_batch_of_one(world_size):
    shares = [batches(rank=r, world_size=world_size) for r in range(world_size)]
    assert [list(chain(*parts)) for parts in zip(*shares)] == batches()


def test_a_batch_holds_one_group():
    for batch in batches():
        assert len({GROUPS[index] for index, _ in batch}) == 1
    assert {GROUPS[batch[0][0]] for batch in batches()} == {0, 1}


def test_every_image_once_an_epoch():
    draws = sorted(chain(*batches(400)), key=lambda draw: draw[1])
    drawn = [index for index, _ in draws]
    size = len(GROUPS)
    for epoch in range(100):
        assert sorted(drawn[epoch * size : (epoch + 1) * size]) == list(range(size))
    assert drawn[:size] != drawn[size : 2 * size]
    assert len({number for _, number in draws}) == len(draws)


def test_fewer_images_than_a_batch():
    for batch in batches(groups=[0, 0], batch_size=7):
        assert len(batch) == 7
    assert batches(3, groups=[0], batch_size=2) == [
        [(0, 0), (0, 1)],
        [(0, 2), (0, 3)],
        [(0, 4), (0, 5)],
    ]


def test_classes_equally_often_and_every_image_of_a_class():
    labels = [0] * 8 + [7] * 2 + [3]
    drawn = [index for batch in batches(60, [0] * 11, 4, labels=labels) for index, _ in batch]
    assert Counter(labels[i] for i in drawn) == {0: 80, 7: 80, 3: 80}
    assert Counter(drawn) == {**dict.fromkeys(range(8), 10), 8: 40, 9: 40, 10: 80}


def test_wrong_sizes():
    with pytest.raises(ValueError, match="does not divide over 3"):
        StreamSampler(GROUPS, 4, seed=0, stream=0, world_size=3)
    with pytest.raises(ValueError, match="at least one image"):
        StreamSampler([], 4, seed=0, stream=0)
    with pytest.raises(ValueError, match="2 labels for 11 images"):
        StreamSampler(GROUPS, 4, seed=0, stream=0, labels=[0, 1])


def test_wide_and_high_images_are_two_groups():
    sizes = [(500, 375), (375, 500), (400, 400)]
    assert aspect_groups([{"width": w, "height": h} for w, h in sizes]) == [1, 0, 0]
