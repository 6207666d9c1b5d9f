"""The YAML of a config for two folders, a comment at every choice."""

from __future__ import annotations

import json
import textwrap
from typing import Any

from .init_plan import DataPlan
from .init_training import TrainingPlan

#: Pixels of the shorter side that the small detector sees, and of the longer at most.
MINI_SIDE, MINI_LONGEST = 256, 448
#: Side in pixels that the small classifier sees.
MINI_CROP = 64

_WIDTH = 96


def config_text(data: DataPlan, training: TrainingPlan, output_dir: str, command: str) -> str:
    """The file as it is written.

    Args:
        data, training: what it says.
        output_dir: ``OUTPUT_DIR``.
        command: that wrote it, for its head.
    """
    parts = [
        _comment(
            f"{data.train} (labelled) -> {data.target} (not labelled), written by: {command}\n"
            "Every choice below is a suggestion: change what you know better."
        ),
        _data(data),
        _detector(data, training) if data.kind == "detection" else _classifier(data, training),
        _solver(data, training),
        _rest(data, training, output_dir),
    ]
    return "\n".join(parts)


def _data(data: DataPlan) -> str:
    lines = ["DATASETS:", "  # Your folders under names; datasets/README.md has all keys."]
    if data.shared:
        text = "CLASSES are those that both have; IGNORE '*' drops the objects of others."
        lines += _wrapped(text, 2)
    lines.append("  REGISTER:")
    for entry in data.register:
        pairs = [f"{key}: {_value(value)}" for key, value in entry.items()]
        if "NEGATIVES" in entry:
            pairs = [
                f"{p} # {data.remarks['NEGATIVES']}" if p.startswith("NEGATIVES:") else p
                for p in pairs
            ]
        lines += [f"    - {pairs[0]}", *(f"      {pair}" for pair in pairs[1:])]
    lines += _key("  TRAIN", [data.train], f"{data.images[data.train]} images, with labels")
    target = f"{data.images[data.target]} images"
    remark = data.remarks.get("TARGET", "no label is read")
    lines += _key("  TARGET", [data.target], f"{target}; {remark}")
    if data.test:
        counts = ", ".join(str(data.images[name]) for name in data.test)
        remark = data.remarks.get("TEST", "scores, never trained on")
        lines += _key("  TEST", data.test, f"{counts} images; {remark}")
    else:
        lines += [
            "  # Nothing to score: there are no labels for the target. A hundred labelled target",
            "  # images, kept apart and registered like the source, are worth having.",
            "  TEST: []",
        ]
    return "\n".join(lines) + "\n"


def _detector(data: DataPlan, training: TrainingPlan) -> str:
    classes = len(data.classes)
    align = _block("""\
          DA: # SW-DA (Saito et al., CVPR 2019): which features are made alike
            LOCAL: {ENABLED: True} # at every pixel, strongly
            GLOBAL: {ENABLED: True} # of whole images, weakly
            CONTEXT: True # regions see what the discriminators see
        METAALIGN: # Wei et al., CVPR 2021: how alignment and task share a step; False: SW-DA
          ENABLED: True
        """)
    if training.model != "mini":
        depth = training.model.removeprefix("resnet")
        model = _block(f"""\
            _BASE_: "Base-SWDA-C4.yaml" # Faster R-CNN as in the papers on adaptation
            MODEL:
              # ImageNet weights, downloaded when training starts.
              WEIGHTS: "detectron2://ImageNetPretrained/MSRA/R-{depth}.pkl"
              RESNETS: {{DEPTH: {depth}}}
              ROI_HEADS: {{NUM_CLASSES: {classes}}}
            """)
        return model + align
    anchors = ", ".join(map(str, training.anchors))
    model = _block(f"""\
        # A small detector that trains on a CPU, from random weights: a first look, not the best
        # there is. On a GPU run init again, or --model resnet101, for the ResNet of the papers.
        _BASE_: "mini/Base.yaml"
        MODEL:
          WEIGHTS: ""
          RESNETS: {{NORM: "GN"}} # of each image by itself: batches are small
          ANCHOR_GENERATOR: {{SIZES: [[{anchors}]]}} # sides in pixels; your boxes lie around them
          ROI_HEADS: {{NUM_CLASSES: {classes}}}
        """)
    size = _block(f"""\
        INPUT: # pixels of the shorter and of the longer side; twice as many: four times the time
          MIN_SIZE_TRAIN: [{MINI_SIDE}]
          MAX_SIZE_TRAIN: {MINI_LONGEST}
          MIN_SIZE_TEST: {MINI_SIDE}
          MAX_SIZE_TEST: {MINI_LONGEST}
        """)
    return model + align + size


def _classifier(data: DataPlan, training: TrainingPlan) -> str:
    classes = len(data.classes)
    align = _block(f"""\
          ALIGN: # which features are made alike
            METHOD: "dannpe" # as in the paper on MetaAlign; others: dann, cdan, gvb, mmd, none
            SCHEDULE_STEPS: {training.max_iter}
        METAALIGN: # Wei et al., CVPR 2021: how alignment and task share a step; False: one sum
          ENABLED: True
        """)
    if training.model != "mini":
        depth = training.model.removeprefix("resnet")
        model = _block(f"""\
            _BASE_: "office_home/Base.yaml" # a ResNet as in the papers on adaptation
            MODEL:
              # ImageNet weights, downloaded when training starts.
              WEIGHTS: "detectron2://ImageNetPretrained/torchvision/R-{depth}.pkl"
              RESNETS: {{DEPTH: {depth}}}
              CLASSIFIER: {{NUM_CLASSES: {classes}}}
            """)
        return model + align
    model = _block(f"""\
        # A small classifier that trains on a CPU, from random weights: a first look, not the best
        # there is. On a GPU run init again, or --model resnet50, for the ResNet of the papers.
        _BASE_: "office_home/Base.yaml"
        MODEL:
          WEIGHTS: ""
          BACKBONE: {{NAME: "build_mini_resnet_backbone"}}
          RESNETS: {{OUT_FEATURES: ["res4"]}}
          CLASSIFIER: {{NUM_CLASSES: {classes}, IN_FEATURE: "res4"}}
        """)
    size = _block(f"""\
          META_LR: 1.0 # its inner step, as a multiple of the learning rate
        INPUT:
          CLASSIFICATION: # pixels of a side: resized to, then cropped to
            RESIZE: {MINI_CROP + 8}
            CROP: {MINI_CROP}
        """)
    return model + align + size


def _solver(data: DataPlan, training: TrainingPlan) -> str:
    steps = training.max_iter
    lines = [
        "SOLVER:",
        *_wrapped(training.reason, 2),
        f"  MAX_ITER: {steps}",
        f"  IMS_PER_BATCH: {training.batch} # source images per step",
        f"  IMS_PER_BATCH_TARGET: {training.batch} # target images per step",
        f"  BASE_LR: {training.base_lr} # if memory runs out, halve this and both batches",
        "  REFERENCE_WORLD_SIZE: 1 # with --num-gpus 4: batch and rate times 4, steps by 4",
    ]
    if data.kind == "detection":
        lines.append(f"  STEPS: [{round(steps * 5 / 7)}] # here the learning rate falls to a tenth")
    else:
        lines.append(f"  INVERSE_GAMMA: {10 / steps:.5f} # the learning rate falls to a sixth")
        if training.model == "mini":
            lines.append("  HEAD_LR_FACTOR: 1.0 # nothing is pretrained: all learn at one rate")
    lines.append(f"  CHECKPOINT_PERIOD: {_period(steps)} # steps")
    return "\n".join(lines) + "\n"


def _rest(data: DataPlan, training: TrainingPlan, output_dir: str) -> str:
    policy = '"error" # or "skip": go on without an image that cannot be read'
    if data.unreadable:
        policy = f'"skip" # {len(data.unreadable)} cannot be read; "error": stop there'
    return _block(f"""\
        TEST:
          EVAL_PERIOD: {_period(training.max_iter)} # steps; 0 = at the end only
          BATCH_SIZE: {1 if data.kind == "detection" else 32}
        SELECTION: # model_selected.pth, chosen without a label of the target (docs/selection.md)
          ENABLED: True
        DATALOADER:
          NUM_WORKERS: 2 # processes that load images
          ON_BAD_IMAGE: {policy}
        SEED: 0
        OUTPUT_DIR: {_value(output_dir)} # this run's own: log, checkpoints, scores
        VERSION: 2
        """)


def _period(steps: int) -> int:
    return max(100, steps // 10)


def _key(key: str, names: list[str], comment: str) -> list[str]:
    return [f"  # {comment}", f"{key}: {_value(names)}"]


def _value(value: Any) -> str:
    """JSON is YAML, and leaves no doubt about what is text."""
    return json.dumps(value, ensure_ascii=False)


def _comment(text: str) -> str:
    return "\n".join(line for part in text.splitlines() for line in _wrapped(part, 0)) + "\n"


def _wrapped(text: str, indent: int) -> list[str]:
    return [f"{' ' * indent}# {line}" for line in textwrap.wrap(text, _WIDTH - indent)]


_block = textwrap.dedent
