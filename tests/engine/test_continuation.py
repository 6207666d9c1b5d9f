"""metrics.json and evaluations of a resumed run are those of an uninterrupted one."""

from __future__ import annotations

import json

import pytest
import torch
from detectron2.engine.hooks import EvalHook
from detectron2.utils.events import EventStorage, JSONWriter

from metaalign_det.engine.continuation import WALL_CLOCK, rewind_metrics
from metaalign_det.engine.trainer import AdaptationTrainer
from metaalign_det.errors import UserError
from metaalign_det.modeling.weight_files import read_weight_file
from tests.engine.tiny_training import everything, training_cfg

pytestmark = pytest.mark.usefixtures("tiny_datasets")


class Killed(BaseException):
    """Not an Exception: nothing may clean up after it."""


#: The evaluations that a trainer makes, as (iteration, ...) in the order they were made.
evaluations: list[int] = []


class Trainer(AdaptationTrainer):
    """With an evaluation that costs nothing and depends on the weights; writes every 4 steps."""

    def test(self, cfg, model, evaluators=None):
        evaluations.append(self.iter)
        return {"score": {"sum": sum(p.sum().item() for p in model.parameters())}}

    def build_hooks(self):
        hooks = super().build_hooks()
        for hook in hooks:
            if type(hook).__name__ == "PeriodicWriter":
                hook._period = 4
            if isinstance(hook, EvalHook):
                hook._func = lambda: self.test(self.cfg, self.model)
        return hooks

    def after_train(self):
        if not self.killed:
            super().after_train()


def train(cfg, resume=False, kill=None, before=False):
    """Train; killed in iteration ``kill``, in its step or, ``before``, just before the writers."""
    torch.manual_seed(1)
    trainer = Trainer(cfg)
    trainer.killed = False
    trainer.resume_or_load(resume=resume)

    def die(*_):
        if trainer.iter == kill:
            trainer.killed = True
            raise Killed

    if kill is not None and before:
        evaluate = next(h for h in trainer._hooks if isinstance(h, EvalHook))
        act = evaluate.after_step
        evaluate.after_step = lambda: (die(), act())
    elif kill is not None:
        act_step = trainer.run_step
        trainer.run_step = lambda: (act_step(), die())
    try:
        trainer.train()
    except Killed:
        # As the operating system would leave it: what was not flushed is gone.
        for hook in trainer._hooks:
            if type(hook).__name__ == "PeriodicWriter":
                for writer in hook._writers:
                    writer.close()
    return trainer


def cfg_of(folder, *opts):
    return training_cfg(
        folder,
        *("SOLVER.MAX_ITER", 12, "SOLVER.CHECKPOINT_PERIOD", 3, "TEST.EVAL_PERIOD", 6),
        *("METAALIGN.ENABLED", False, *opts),
    )


def metrics(folder):
    records = []
    for line in (folder / "metrics.json").read_text().splitlines():
        record = {k: v for k, v in json.loads(line).items() if k not in WALL_CLOCK}
        if set(record) - {"iteration"}:
            records.append(record)
    return records


@pytest.fixture(scope="module")
def whole(tmp_path_factory, datasets):
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(datasets))
        evaluations.clear()
        trainer = train(cfg_of(folder))
    assert evaluations == [5, 12]
    assert len(metrics(folder)) > 3
    return metrics(folder), everything(trainer)


@pytest.mark.parametrize(
    "kill, before, made_again",
    [
        (4, False, [5, 12]),
        (5, True, [5, 12]),  # checkpointed, not yet evaluated
        (7, False, [5, 12]),  # evaluated, but checkpointed before that
        (10, False, [12]),
        (11, True, [12]),  # the last checkpoints are there, the last record is not
    ],
)
def test_a_resumed_run_writes_what_an_uninterrupted_one_does(
    tmp_path, whole, kill, before, made_again
):
    cfg = cfg_of(tmp_path)
    train(cfg, kill=kill, before=before)
    with (tmp_path / "metrics.json").open("a") as file:
        file.write('{"iteration": 11, "loss_c')  # half a line
    evaluations.clear()
    trainer = train(cfg, resume=True)
    assert evaluations == made_again
    assert metrics(tmp_path) == whole[0]
    ended = everything(trainer)
    for key, value in whole[1].items():
        same = torch.equal(value, ended[key]) if torch.is_tensor(value) else value == ended[key]
        assert same, key


def test_a_finished_run_whose_last_checkpoint_is_damaged_writes_it_again(tmp_path, whole):
    cfg = cfg_of(tmp_path)
    train(cfg)
    final = tmp_path / "model_final.pth"
    content = read_weight_file(final)
    for damage in (lambda: final.unlink(), lambda: final.write_bytes(b"x")):
        damage()
        train(cfg, resume=True)
        again = read_weight_file(final)
        assert again["iteration"] == 11
        assert torch.equal(
            again["model"]["backbone.stem.conv1.weight"],
            content["model"]["backbone.stem.conv1.weight"],
        )
    assert metrics(tmp_path) == whole[0]


def test_a_longer_run_with_another_learning_rate_takes_both(tmp_path):
    train(cfg_of(tmp_path))
    opts = ("SOLVER.MAX_ITER", 15, "SOLVER.BASE_LR", 0.5, "SOLVER.STEPS", (13,))
    trainer = train(cfg_of(tmp_path, *opts), resume=True)
    rates = {r["iteration"]: r["lr"] for r in metrics(tmp_path) if "lr" in r}
    assert rates[11] == 0.01 * 0.1  # as it was
    assert rates[14] == 0.5 * 0.1
    assert trainer.optimizer.param_groups[0]["initial_lr"] == 0.5
    assert read_weight_file(tmp_path / "model_final.pth")["iteration"] == 14
    with pytest.raises(UserError, match="SOLVER.MAX_ITER is 12, but .* has done 15"):
        train(cfg_of(tmp_path), resume=True)


# ---- rewinding -------------------------------------------------------------------------------


def record(iteration):
    return json.dumps({"iteration": iteration, "loss": 1.0}) + "\n"


@pytest.mark.parametrize(
    "text, iteration, left",
    [
        (record(3) + record(7), 9, record(3) + record(7)),
        (record(3) + record(7), 5, record(3)),
        (record(3) + record(7) + record(4), 5, record(3)),
        (record(3) + '{"iterat', 5, record(3)),
        (record(3) + record(4)[:-1], 5, record(3)),  # no end of line: it may go on
        ("half" + "\n" + record(3), 5, "half\n" + record(3)),  # an earlier version's
        (record(3), -1, ""),
        ("", 5, ""),
        ("[" * 5000 + "\n", 5, ""),
    ],
)
def test_records_from_after_a_checkpoint_are_cut_off(tmp_path, text, iteration, left):
    path = tmp_path / "metrics.json"
    path.write_text(text)
    assert rewind_metrics(path, iteration) == len(text) - len(left)
    assert path.read_text() == left


def test_a_writer_that_has_the_file_open_goes_on_behind_the_cut(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text(record(3) + record(7))
    with EventStorage(4) as storage:
        writer = JSONWriter(str(path))
        rewind_metrics(path, 3)
        storage.put_scalar("loss", 2.0)
        writer.write()
    assert [json.loads(x)["iteration"] for x in path.read_text().splitlines()] == [3, 4]


def test_without_a_file_there_is_nothing_to_cut(tmp_path):
    assert rewind_metrics(tmp_path / "metrics.json", 3) == 0
