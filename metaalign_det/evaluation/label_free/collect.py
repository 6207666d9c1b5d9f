"""Run a model over images and keep what validators ask for; the model is left as it was.

No random number of the host is drawn: mixtures pair the images of a batch from its two ends, and
perturbations of weights come from a generator of their own, the same for every candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from detectron2.structures import Instances
from torch import Tensor, nn

from ...coordination.stages import is_under
from ...errors import UserError
from .inputs import Detections, Inputs, Mixtures, Predictions
from .mixup import WEIGHT

#: Yields batches, lists of model inputs; is iterated over more than once.
Batches = Iterable[list[dict]]

_CLASSIFIER = "classifier"  # the last layer of a classifier
_MANUAL_SEED = 2024  # of perturbations


def collect(
    model: nn.Module,
    task: str,
    needs: Collection[str],
    target: Batches,
    source: Batches | None = None,
    *,
    radius: float = 1.0,
    perturbations: int = 1,
) -> Inputs:
    """What ``needs`` names, of one model; not ``ensemble``, which takes several.

    Args:
        model: a classifier, with a layer ``classifier`` where "features" are needed, or a detector
            with ``roi_heads.box_predictor``; on any device. Evaluated in evaluation mode, whatever
            mode it is in.
        task: "classification" or "detection".
        needs: some of :data:`~.inputs.NEEDS`.
        target: target images without labels.
        source: source images, a classifier's with ``label``.
        radius: length by which weights are moved for ``perturbed``.
        perturbations: how often.

    Returns:
        Inputs: all tensors on the CPU.

    Raises:
        UserError: the model has no such layer, source images are needed and missing, or images to
            be mixed differ in size.
    """
    if {"source", "source_detections"} & set(needs) and source is None:
        raise UserError("a validator needs source images, and there are none")
    with _evaluating(model), torch.no_grad():
        if task == "classification":
            return _classifications(model, needs, target, source)
        return _detections(model, needs, target, source, radius, perturbations)


def check_model(model: nn.Module, task: str, needs: Collection[str]) -> None:
    """Whether a model has the layers that :func:`collect` looks into.

    Raises:
        UserError: it has not.
    """
    if task == "detection":
        _box_predictor(model)
    elif "features" in needs:
        _layer(model, _CLASSIFIER)


# ---- classifiers ----------------------------------------------------------------------------


def _classifications(
    model: nn.Module, needs: Collection[str], target: Batches, source: Batches | None
) -> Inputs:
    features = "features" in needs
    looked_at = {"target", "ensemble"} & set(needs)
    return Inputs(
        target=_predictions(model, target, features) if looked_at else None,
        source=_predictions(model, source, features) if "source" in needs else None,
        mixtures=_mixtures(model, target) if "mixtures" in needs else None,
    )


def _predictions(model: nn.Module, batches: Batches, with_features: bool) -> Predictions:
    probabilities, labels = [], []
    with _inputs_of(model, _CLASSIFIER) if with_features else nullcontext() as features:
        for batch in batches:
            probabilities += _probabilities(model, batch)
            labels += [x["label"] for x in batch if "label" in x]
    if not probabilities:
        nothing = torch.zeros(0, 1) if with_features else None
        return Predictions(torch.zeros(0, model.num_classes), nothing)
    complete = len(labels) == len(probabilities)
    return Predictions(
        torch.stack(probabilities),
        torch.cat(features) if with_features else None,
        torch.tensor(labels) if complete else None,
    )


def _mixtures(model: nn.Module, batches: Batches) -> Mixtures:
    mixed, first, second = [], [], []
    for batch in batches:
        pairs = [(i, len(batch) - 1 - i) for i in range(len(batch)) if 2 * i + 1 != len(batch)]
        if len({tuple(x["image"].shape) for x in batch}) > 1:
            raise UserError(
                "MixVal mixes images of one size: set INPUT.CLASSIFICATION.RESIZE or CROP, or "
                "choose another validator"
            )
        if not pairs:
            continue
        alone = _probabilities(model, batch)
        images = [x["image"].float() for x in batch]
        blends = [{"image": WEIGHT * images[i] + (1 - WEIGHT) * images[j]} for i, j in pairs]
        mixed += _probabilities(model, blends)
        first += [alone[i] for i, _ in pairs]
        second += [alone[j] for _, j in pairs]
    if not mixed:
        nothing = torch.zeros(0, model.num_classes)
        return Mixtures(nothing, nothing, nothing, WEIGHT)
    return Mixtures(torch.stack(mixed), torch.stack(first), torch.stack(second), WEIGHT)


def _probabilities(model: nn.Module, batch: list[dict]) -> list[Tensor]:
    return [output["scores"].float().cpu() for output in model(batch)]


# ---- detectors ------------------------------------------------------------------------------


def _detections(
    model: nn.Module,
    needs: Collection[str],
    target: Batches,
    source: Batches | None,
    radius: float,
    perturbations: int,
) -> Inputs:
    perturbed = None
    if "perturbed" in needs:
        perturbed = []
        for number in range(perturbations):
            with perturbed_weights(model, radius, _MANUAL_SEED + number):
                perturbed.append(_found(model, target))
    return Inputs(
        detections=_found(model, target) if {"detections", "perturbed"} & set(needs) else None,
        source_detections=_found(model, source) if "source_detections" in needs else None,
        perturbed=perturbed,
    )


def _found(model: nn.Module, batches: Batches) -> list[Detections]:
    found = []
    with _detailed(model):
        for batch in batches:
            for output in model(batch):
                instances = output["instances"].to("cpu")
                found.append(
                    Detections(
                        instances.pred_boxes.tensor,
                        instances.scores,
                        instances.pred_classes,
                        instances.class_probabilities,
                        instances.box_features,
                    )
                )
    return found


@contextmanager
def _detailed(model: nn.Module) -> Iterator[None]:
    """Within it, instances carry ``class_probabilities`` (K + 1) and ``box_features``.

    Detectron2's box predictor drops both when it makes instances of its outputs; the method of this
    one predictor is wrapped, for the length of the block, to keep those of the detections kept.
    """
    predictor = _box_predictor(model)
    inference = predictor.inference

    def detailed(predictions: Any, proposals: list[Instances]) -> tuple:
        instances, kept = inference(predictions, proposals)
        probabilities = predictor.predict_probs(predictions, proposals)
        of_image = features.pop().split([len(p) for p in proposals])
        for one, rows, p, f in zip(instances, kept, probabilities, of_image):
            one.class_probabilities = p[rows]
            one.box_features = f[rows.to(f.device)]
        return instances, kept

    with _inputs_of(model, "roi_heads.box_predictor", on_cpu=False) as features:
        predictor.inference = detailed
        try:
            yield
        finally:
            del predictor.inference


def _box_predictor(model: nn.Module) -> Any:
    predictor = getattr(getattr(model, "roi_heads", None), "box_predictor", None)
    if not hasattr(predictor, "predict_probs"):
        raise UserError(
            "validators of detection need a detector with one box predictor (Faster R-CNN), not "
            f"{type(model).__name__}"
        )
    return predictor


@contextmanager
def perturbed_weights(model: nn.Module, radius: float, seed: int) -> Iterator[None]:
    """Within it, all weights but the domain discriminators' are moved by a random direction.

    Args:
        model: changed in place, and put back bit for bit.
        radius: length of the move, over all weights together.
        seed: of its direction.
    """
    skipped: Callable[[], Sequence[str]] = getattr(model, "discriminator_prefixes", tuple)
    prefixes = skipped()
    params = [p for n, p in model.named_parameters() if not any(is_under(n, x) for x in prefixes)]
    generator = torch.Generator().manual_seed(seed)
    direction = [torch.randn(p.shape, generator=generator) for p in params]
    length = torch.sqrt(sum(d.square().sum() for d in direction))
    before = [p.detach().clone() for p in params]
    with torch.no_grad():
        for p, d in zip(params, direction):
            p.add_((d * (radius / length)).to(p))
        try:
            yield
        finally:
            for p, saved in zip(params, before):
                p.copy_(saved)


# ---- both -----------------------------------------------------------------------------------


def _layer(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError as error:
        raise UserError(
            f"a validator reads what goes into the layer {name!r}, and the model "
            f"{type(model).__name__} has none of that name: name its last layer so, or choose "
            "another validator"
        ) from error


@contextmanager
def _inputs_of(model: nn.Module, name: str, on_cpu: bool = True) -> Iterator[list[Tensor]]:
    """A list that grows by what goes into the layer ``name``, shape (rows, C), in every pass."""
    layer = _layer(model, name)
    seen: list[Tensor] = []

    def keep(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        x = args[0].detach().float().flatten(1)
        seen.append(x.cpu() if on_cpu else x)

    handle = layer.register_forward_pre_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode; afterwards every module has the mode it had."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
