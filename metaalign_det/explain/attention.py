"""Where a network looks: maps of what an objective depends on, by hooks and one differentiation.

Shape shorthand: N images, C channels, (h, w) of a feature map, (H, W) of an image.

For an objective s and a feature map A with gradient G = ds/dA:

    gradcam    relu(sum_c mean_hw(G_c) A_c)      Selvaraju et al., Grad-CAM, ICCV 2017, eq. 1-2
    layercam   relu(sum_c relu(G_c) A_c)         Jiang et al., LayerCAM, TIP 2021, eq. 5-6
    gradient   sqrt(sum_c G_c^2)                 where the objective's gradient acts

The first two show evidence *for* s; the third where s, descended or ascended, would move the
features, which is what "alignment works on the background" is a statement about.

What s is:

    task, detector     sum over detections of p log(p / (1 - p)), the factor p a constant
    task, classifier   log(p / (1 - p)) of the predicted class
    a discriminator    -L_k of the images: how surely it tells their domain
    a distance         D_j: how far apart the domains are

Log-odds rather than probabilities, whose gradient vanishes exactly for what the network is sure of.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UserError
from .samples import Sample

METHODS = ("gradcam", "layercam", "gradient")
TASK = "task"


class FeatureTaps:
    """Forward hooks that make feature maps the leaves of a graph and hand them out.

    Without ``layer``, the taps are all outputs of the backbone, and those that an objective does
    not read get no gradient from it. With one, the tap is the output of that module.

    Args:
        model: its parameters must not require gradients, so that the graph begins at the taps.
        layer: name of a module as in ``model.named_modules()``, or "".

    Raises:
        UserError: there is no such module; in a pass, it gives no maps of whole images.
    """

    def __init__(self, model: nn.Module, layer: str = "") -> None:
        modules = dict(model.named_modules())
        if layer and layer not in modules:
            near = [n for n in modules if n.count(".") == 1 and n.startswith("backbone.")]
            raise UserError(f"--layer: the network has no module {layer!r}; try {', '.join(near)}")
        self._layer = layer
        self._module = modules[layer] if layer else model.backbone
        self._backbone = model.backbone
        self._images = 0
        #: Feature maps of the last pass, name -> (N, C, h, w).
        self.maps: dict[str, Tensor] = {}
        #: Height and width of the last batch, padding included, pixels.
        self.padded: tuple[int, int] = (0, 0)

    @contextmanager
    def open(self) -> Iterator[FeatureTaps]:
        """Within it, every pass of the model fills :attr:`maps` anew."""
        hooks = [
            self._backbone.register_forward_pre_hook(self._see_size),
            self._module.register_forward_hook(self._tap),
        ]
        try:
            yield self
        finally:
            for hook in hooks:
                hook.remove()

    def _see_size(self, module: nn.Module, args: tuple) -> None:
        self._images = len(args[0])
        self.padded = tuple(args[0].shape[-2:])

    def _tap(self, module: nn.Module, args: tuple, output: Tensor | dict) -> Any:
        outputs = {"": output} if isinstance(output, Tensor) else output
        if self._layer and not (isinstance(outputs, dict) and self._are_maps(outputs.values())):
            raise UserError(
                f"--layer: {self._layer} does not give feature maps of whole images, but something "
                "of regions or of another shape; name a module of the backbone"
            )
        self.maps = {name: x.detach().requires_grad_() for name, x in outputs.items()}
        return self.maps[""] if isinstance(output, Tensor) else self.maps

    def _are_maps(self, outputs: Iterable) -> bool:
        return all(
            isinstance(x, Tensor) and x.dim() == 4 and len(x) == self._images for x in outputs
        )


def saliency(activation: Tensor, gradient: Tensor, method: str) -> Tensor:
    """The map of one objective on one feature map, at least 0.

    Args:
        activation (Tensor): A, shape (N, C, h, w).
        gradient (Tensor): G, the same shape.
        method: one of :data:`METHODS`, see the head of the module.

    Returns:
        Tensor: shape (N, h, w).
    """
    if method == "gradcam":
        return F.relu((gradient.mean(dim=(2, 3), keepdim=True) * activation).sum(dim=1))
    if method == "layercam":
        return F.relu((F.relu(gradient) * activation).sum(dim=1))
    if method == "gradient":
        return gradient.square().sum(dim=1).sqrt()
    raise ValueError(f"unknown method {method!r}; choose one of {', '.join(METHODS)}")


def attention_maps(
    model: nn.Module,
    samples: Sequence[Sample],
    *,
    methods: Sequence[str] = METHODS,
    domain: str = "target",
    partners: Sequence[dict] = (),
    layer: str = "",
) -> dict[str, dict[str, Tensor]]:
    """Maps of the task and of every alignment objective.

    Args:
        model: in evaluation mode, parameters without gradients.
        samples: images of one size.
        methods: any of :data:`METHODS`.
        domain: which domain the images are of, "source" or "target".
        partners: images of the other domain, for alignment that compares the two in one batch
            (classifiers); detectors need none.
        layer: see :class:`FeatureTaps`.

    Returns:
        dict: objective ("task", "local", ...) -> method -> (N, H, W) over the network's input. An
        objective that does not reach the maps is left out.
    """
    inputs = [s.input for s in samples]
    if partners and len(inputs) == 1:
        inputs = inputs * 2  # a distance between distributions wants at least two of each
    taps = FeatureTaps(model, layer)
    found: dict[str, dict[str, Tensor]] = {}
    with torch.enable_grad(), taps.open():
        score = task_score(model, inputs)
        _explain(found, TASK, score, taps, methods, samples)
        if getattr(model, "aligns", False):
            for name, score, maps in _alignment_scores(model, inputs, domain, partners, taps):
                _explain(found, name, score, taps, methods, samples, maps)
    return found


def task_score(model: nn.Module, inputs: list[dict]) -> Tensor:
    """s of the task (see the head of the module), summed over images; scalar.

    Raises:
        UserError: the model is neither a detector nor a classifier of this package.
    """
    if hasattr(model, "roi_heads"):
        found = model.inference(inputs, do_postprocess=False)
        scores = torch.cat([x.scores for x in found])
        return (scores.detach() * torch.logit(scores, eps=1e-6)).sum()
    results = model.inference(inputs)
    if not results or "logits" not in results[0]:
        raise UserError(
            f"{type(model).__name__} gives neither boxes nor class scores to be explained: runs of "
            "SWDARCNN, Detectron2's GeneralizedRCNN and DomainAdaptiveClassifier can be"
        )
    logits = torch.stack([r["logits"] for r in results])
    best = logits.argmax(dim=1, keepdim=True)
    others = logits.masked_fill(F.one_hot(best[:, 0], logits.shape[1]).bool(), float("-inf"))
    return (logits.gather(1, best)[:, 0] - others.logsumexp(dim=1)).sum()


def _alignment_scores(
    model: Any, inputs: list[dict], domain: str, partners: Sequence[dict], taps: Any
) -> Iterator[tuple]:
    """Name, s and the maps of the images' pass, for each alignment term."""
    if not model.alignment_needs_target and domain == "target":
        return  # sources are aligned with each other: the target's images are in no pass
    if model.alignment_separable or not model.alignment_needs_target:
        partners = ()
    elif not partners:
        raise ValueError(f"{type(model).__name__} aligns batches of both domains: give partners")
    passes: list[dict[str, Tensor]] = []
    hook = model.backbone.register_forward_hook(lambda *_: passes.append(taps.maps))
    source, target = (inputs, list(partners)) if domain == "source" else (list(partners), inputs)
    try:
        terms = model.alignment_terms(source, target)
    finally:
        hook.remove()
    # The source passes first; with an inner layer tapped, the taps were filled before this hook.
    maps = passes[0] if domain == "source" else passes[-1]
    for key, term in terms.items():
        name = term.owner.rpartition(".")[2] if term.owner else key.removeprefix("loss_")
        yield name, -term.loss if term.adversarial else term.loss, maps


def _explain(
    found: dict,
    name: str,
    score: Tensor,
    taps: Any,
    methods: Any,
    samples: Sequence[Any],
    maps: Mapping | None = None,
) -> None:
    maps = taps.maps if maps is None else maps
    gradients = (
        torch.autograd.grad(score, list(maps.values()), retain_graph=True, allow_unused=True)
        if score.requires_grad
        else [None] * len(maps)
    )
    reached = [(a, g) for a, g in zip(maps.values(), gradients) if g is not None]
    reached = [(a, g) for a, g in reached if min(a.shape[-2:]) > 1]
    if not reached:
        return
    height, width = samples[0].size
    found[name] = {}
    for method in methods:
        over = _over_image([saliency(a.detach(), g, method) for a, g in reached], taps.padded)
        found[name][method] = over[: len(samples), :height, :width]


def _over_image(maps: Sequence[Tensor], padded: tuple[int, int]) -> Tensor:
    """The sum of maps of any sizes, each spread over the batch's (H, W) with its mass kept."""
    total = 0
    for m in maps:
        spread = F.interpolate(m[:, None], padded, mode="bilinear", align_corners=False)[:, 0]
        total = total + spread * (m.shape[-2] * m.shape[-1] / (padded[0] * padded[1]))
    return total


def default_layer(model: nn.Module, sample: Sample) -> str:
    """ "" where the network reads maps with an extent, else its last module that gives one.

    Mini Digits' classifier reads a flat vector: its last convolution is looked at instead.
    """
    if hasattr(model, "roi_heads"):
        return ""
    extents: dict[str, int] = {}
    stages = [p for prefixes in model.backbone_stages().values() for p in prefixes]
    hooks = [
        model.get_submodule(stage).register_forward_hook(
            lambda _, __, out, stage=stage: extents.update({stage: min(out.shape[-2:])})
        )
        for stage in stages
    ]
    try:
        with torch.no_grad():
            pooled = model.backbone_features([sample.input])[model.in_feature]
    finally:
        for hook in hooks:
            hook.remove()
    if min(pooled.shape[-2:]) > 1:
        return ""
    return [stage for stage, extent in extents.items() if extent > 1][-1]
