"""``python -m benchmarks.batchnorm_statistics``: whose statistics, in which views."""

from __future__ import annotations

import pytest

from benchmarks.batchnorm_statistics import main
from metaalign_det.adaptation.adaptive_bn import adapted_batchnorm
from tests.data.trees import make_tiny_voc

ARGS = (
    "--config-file", "mini/source.yaml", "--target", "watercolor_train",
    "--test", "watercolor_test", "--batches", "1",
)  # fmt: skip
OPTS = (
    "--", "MODEL.WEIGHTS", "", "DATASETS.TRAIN", "('voc6_2007_trainval',)",
    "INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_TEST", "64",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _datasets(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(make_tiny_voc(tmp_path, images=8)))
    monkeypatch.chdir(tmp_path)


def test_every_domain_in_every_view_has_a_row_beside_the_weights_own(monkeypatch, capsys):
    seen = []

    def adapted(model, images, batches, forward):
        first = next(images)
        seen.append(("VOC2007" in first[0]["file_name"], batches))
        return adapted_batchnorm(model, iter([first]), batches, forward)

    monkeypatch.setattr("metaalign_det.adaptation.adaptive_bn.adapted_batchnorm", adapted)
    assert main([*ARGS, *OPTS]) == 0
    rows = [line.split("|")[1].strip() for line in capsys.readouterr().out.splitlines()]
    views = ["source, weak views", "source, strong views", "target, weak views"]
    assert rows[2:] == ["as they came", *views, "target, strong views"]
    assert seen == [(True, 1), (True, 1), (False, 1), (False, 1)]


@pytest.mark.parametrize(
    "opts, message",
    [
        (("--batches", "0"), "--batches must be positive, not 0"),
        ((*OPTS, "MODEL.RESNETS.NORM", "FrozenBN"), "no BatchNorm with running statistics"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(opts, message, capsys):
    assert main([*ARGS, *opts]) == 2
    assert message in capsys.readouterr().err
