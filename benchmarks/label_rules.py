"""By which rule a detector's finds on the target would be named best, if labels were there.

    python -m benchmarks.label_rules output/mini/swda_teacher --data mini_openmoji_val

A teacher's labels are its classifier's names. Papers on self-training offer others: the nearest
class centroid among the target's own features (SHOT, Liang et al., ICML 2020), or what the nearest
neighbours are called (NRC, Yang et al., NeurIPS 2021). For objects that the detector finds,
whatever it calls them, this prints how often each rule is right, and how often a vote of the
neighbours' *true* names is: what these features would allow a rule of that kind. The target's
labels are read to measure and for nothing else.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from metaalign_det.cli.quiet import silence_third_party
from metaalign_det.errors import UserError

if TYPE_CHECKING:
    from metaalign_det.explain.runs import RunFolder

NEIGHBOURS = 15
_OVERLAP = 0.5  # IoU: of finds of one object, and of a find and its object
_BATCH = 16


class Finds(NamedTuple):
    """Detections of all images, one of each object at most.

    Args:
        features (Tensor): shape (n, C), of the box head.
        names (Tensor): shape (n,), the classifier's.
        scores (Tensor): shape (n,), in [0, 1].
        truth (Tensor): shape (n,), class of the object there; -1 where there is none.
    """

    features: Tensor
    names: Tensor
    scores: Tensor
    truth: Tensor


def find_objects(run: RunFolder, data: str, threshold: float) -> Finds:
    """Detections of at least ``threshold``, of one another's overlapping ones the best-scored."""
    from detectron2.layers import nms
    from detectron2.structures import Boxes, pairwise_iou

    from metaalign_det.explain.samples import in_batches, read_samples

    model = run.model()
    parts: list[Finds] = []
    for batch in in_batches(read_samples(run.cfg, data), _BATCH):
        inputs = [sample.input for sample in batch]
        with torch.no_grad():
            found = model.inference(inputs, do_postprocess=False)
            found = [x[x.scores >= threshold] for x in found]
            found = [x[nms(x.pred_boxes.tensor, x.scores, _OVERLAP)] for x in found]
            maps = model.backbone_features(inputs)
            features = model.roi_heads.roi_features(maps, [x.pred_boxes for x in found])
        truth = []
        for sample, x in zip(batch, found):
            if sample.boxes is None or sample.classes is None:
                raise UserError(f"{data} has no labels, by which rules could be judged")
            boxes = Boxes(torch.as_tensor(sample.boxes, dtype=torch.float32).reshape(-1, 4))
            if not len(boxes):
                truth.append(torch.full((len(x),), -1))
                continue
            overlap, which = pairwise_iou(x.pred_boxes.to("cpu"), boxes).max(1)
            classes = torch.as_tensor(sample.classes)[which]
            truth.append(torch.where(overlap >= _OVERLAP, classes, -1))
        names, scores = (torch.cat([x.get(f) for x in found]) for f in ("pred_classes", "scores"))
        parts.append(Finds(features.cpu(), names.cpu(), scores.cpu(), torch.cat(truth)))
    return Finds(*map(torch.cat, zip(*parts)))


def named_by_rule(finds: Finds, num_classes: int) -> dict[str, Tensor]:
    """Names (n,) of all finds by each rule; the last rule knows the truth of all others."""
    features = F.normalize(finds.features - finds.features.mean(0), dim=1)
    own = F.one_hot(finds.names, num_classes).float()
    nearness = features @ features.t()
    nearness.fill_diagonal_(-torch.inf)
    known = finds.truth >= 0
    truth = F.one_hot(finds.truth.clamp(min=0), num_classes).float()
    return {
        "classifier": finds.names,
        "nearest centroid": _by_centroid(features, own * finds.scores[:, None], 1),
        "nearest centroid, three rounds": _by_centroid(features, own * finds.scores[:, None], 3),
        f"{NEIGHBOURS} neighbours' names": _vote(nearness, own),
        f"{NEIGHBOURS} neighbours' true names": _vote(
            nearness.masked_fill(~known, -torch.inf), truth
        ),
    }


def _by_centroid(features: Tensor, weights: Tensor, rounds: int) -> Tensor:
    for _ in range(rounds):
        names = (features @ F.normalize(weights.t() @ features, dim=1).t()).argmax(1)
        weights = F.one_hot(names, weights.shape[1]).float()
    return names


def _vote(nearness: Tensor, names: Tensor) -> Tensor:
    near, which = nearness.topk(min(NEIGHBOURS, len(names) - 1), 1)
    votes = names[which] * near.isfinite()[..., None]  # fewer where fewer may vote
    return votes.sum(1).argmax(1)


def accuracies(finds: Finds, num_classes: int) -> dict[str, list[float]]:
    """Rule -> percent right over all finds that are objects, then class by class (NaN: none)."""
    objects = finds.truth >= 0
    found = {}
    for rule, names in named_by_rule(finds, num_classes).items():
        right = 100.0 * (names == finds.truth).double()
        own = [right[finds.truth == k].mean().item() for k in range(num_classes)]
        found[rule] = [right[objects].mean().item(), *own]
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0, or 2 for a mistake in the command."""
    silence_third_party()  # before Detectron2 is imported
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folders of detectors' runs")
    parser.add_argument("--data", required=True, metavar="NAME", help="labelled data set")
    parser.add_argument("--threshold", type=float, default=0.2, help="least score (default: 0.2)")
    args = parser.parse_args(argv)
    try:
        _print(args)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


def _print(args: argparse.Namespace) -> None:
    from metaalign_det.data.catalog.classes import run_classes
    from metaalign_det.explain.runs import open_runs
    from metaalign_det.explain.samples import is_classifier
    from metaalign_det.reports.table import format_table

    for run in open_runs(args.runs):
        if is_classifier(run.cfg):
            raise UserError(f"{run.folder} is a classifier's run, and detectors' finds are named")
        names = list(run_classes(run.cfg))
        finds = find_objects(run, args.data, args.threshold)
        count = int((finds.truth >= 0).sum())
        if count < 2:
            raise UserError(
                f"{run.folder} finds {count} objects of {args.data} with a score of "
                f"{args.threshold}: lower --threshold"
            )
        columns = ["names by", "all", *names]
        rows = [
            dict(zip(columns, [rule, *values]))
            for rule, values in accuracies(finds, len(names)).items()
        ]
        title = f"{run.label}: {count} objects found, and {len(finds.truth) - count} of nothing"
        print(format_table(rows, columns, title, style="markdown"))


if __name__ == "__main__":
    sys.exit(main())
