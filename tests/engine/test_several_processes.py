"""A step in two processes: what they log together, and which running statistics they have."""

from __future__ import annotations

import logging

import pytest
import torch
from detectron2.structures import Boxes, Instances

from metaalign_det.engine.loop import AdaptationLoop
from tests.adaptation.harness import Harness, tiny_cfg, views
from tests.processes import run

TEACHER = (
    "MODEL.DA.GLOBAL.NORM", "", "EMA.ENABLED", True, "EMA.DECAY", 0.5, "TEACHER.ENABLED", True,
    "DATASETS.TARGET", ("target",), "INPUT.VIEWS.TARGET", "both",
)  # fmt: skip


def labels(images):
    found = Instances((64, 64))
    found.gt_boxes, found.gt_classes = Boxes(torch.tensor([[4.0, 6, 30, 28]])), torch.tensor([1])
    return [{"instances": found} for _ in images]


def taught(rank, labelled):
    """A step in which the teachers of some processes alone find a label; losses here and logged."""
    h = Harness(tiny_cfg(*TEACHER), [views(rank)])
    teacher = h.source.learning.average.model
    teacher.pseudo_labels = lambda images, *_: (
        labels(images) if rank in labelled else [{} for _ in images]
    )
    own = {}
    write = h._trainer._write_metrics
    h._trainer._write_metrics = lambda losses, *a: (own.update(losses), write(losses, *a))
    h.train(0, 1)
    logged = {k: v for k, (v, _) in h.storage.latest().items() if "loss" in k}
    return {k: v.item() for k, v in own.items()}, logged


def statistics(rank):
    """Running statistics of the student and of the average of its weights."""
    cfg = tiny_cfg(*TEACHER, "TEACHER.START_ITER", 9, "MODEL.RESNETS.NORM", "BN")
    h = Harness(cfg, [views(10 * rank + i) for i in range(3)])
    h.train(0, 3)
    student, teacher = h.model, h.source.learning.average.model
    return [
        {k: v.numpy() for k, v in m.state_dict().items() if "running_" in k}
        for m in (student, teacher)
    ]


def not_finite(rank):
    """What the log says of a loss that only the second process knows to be NaN."""
    loop = Harness(tiny_cfg(), [])._trainer
    from detectron2.utils.events import EventStorage

    with EventStorage(0):
        try:
            loop._write_metrics({"a": torch.tensor(1.0 if rank == 0 else float("nan"))}, 0.0)
        except FloatingPointError as error:
            return str(error)
    return ""


def all_of_it(rank):
    logging.disable(logging.ERROR)
    return taught(rank, [0]), taught(rank, [1]), statistics(rank), not_finite(rank)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    results = run(all_of_it, store=tmp_path_factory.mktemp("store") / "f", timeout=120)
    assert [r[1] for r in results] == ["ok", "ok"], results
    return [r[2] for r in results]


@pytest.mark.parametrize("labelled", [0, 1])
def test_a_loss_that_one_process_has_is_logged_as_the_mean_over_all(both, labelled):
    (first, logged), (second, _) = (r[labelled] for r in both)
    with_lesson, without = (first, second) if labelled == 0 else (second, first)
    assert "loss_cls_target" in with_lesson and "loss_cls_target" not in without
    assert logged["loss_cls_target"] == pytest.approx(with_lesson["loss_cls_target"] / 2)
    assert logged["loss_cls"] == pytest.approx((first["loss_cls"] + second["loss_cls"]) / 2)
    total = (sum(first.values()) + sum(second.values())) / 2
    assert logged["total_loss"] == pytest.approx(total)


def test_processes_have_the_first_ones_running_statistics_and_so_have_their_teachers(both):
    for here, there in zip(both[0][2], both[1][2]):
        assert here and here.keys() == there.keys()
        assert all((here[k] == there[k]).all() for k in here)
    student, teacher = both[0][2]
    assert any((student[k] != teacher[k]).any() for k in student)


def test_a_loss_that_is_not_finite_in_another_process_stops_the_first(both):
    assert "infinite or NaN at iteration=0" in both[0][3]


def test_one_process_gathers_nothing(monkeypatch):
    import torch.distributed as dist

    monkeypatch.setattr(dist, "gather_object", None)
    monkeypatch.setattr(dist, "broadcast", None)
    h = Harness(tiny_cfg(), [views(0)])
    h.train(0, 1)
    assert isinstance(h._trainer, AdaptationLoop)
    assert h.storage.latest().keys() >= {"total_loss", "loss_cls", "data_time", "rank_data_time"}
