"""Strong-weak domain-adaptive Faster R-CNN on Detectron2's ``GeneralizedRCNN``.

Shape shorthand: N images, R regions, C channels, (H, W) of a feature map.

References:
    Saito et al., Strong-Weak Distribution Alignment for Adaptive Object Detection, CVPR 2019.
    Chen et al., Domain Adaptive Faster R-CNN for Object Detection in the Wild, CVPR 2018
    (the instance-level discriminator).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, GeneralizedRCNN
from detectron2.structures import Boxes, ImageList
from detectron2.utils.events import get_event_storage
from torch import Tensor, nn

from ...adaptation.contract import AdaptableModel
from ...alignment.domain_losses import domain_accuracy, domain_loss
from ...alignment.gradient_reversal import grad_reverse
from ...coordination.stateless import frozen_batch_statistics
from ...loss_term import LossTerm, joint_losses
from ..discriminators_config import Alignment, discriminators_from_config
from ..frozen_prefix import FrozenPrefix
from ..roi_align import make_twice_differentiable
from ..same_images import same_images
from ..stages import backbone_stages
from ..storage import put_scalar
from ..teachable_rcnn import SOURCE, TARGET, TeachableRCNN

_DOMAIN_NAMES = ("source", "target")


@META_ARCH_REGISTRY.register()
class SWDARCNN(TeachableRCNN, AdaptableModel, GeneralizedRCNN):
    """Faster R-CNN with local (strong), global (weak) and instance-level domain discriminators.

    Each is switched on by itself. With the global one alone it is W-DA, with none it is
    Detectron2's ``GeneralizedRCNN``: the same parameters, the same losses.

    For discriminator k with domain loss l, L_k = (mean of l on the source + mean of l on the
    target) / 2: per position on the local map, per image, or per region.
    """

    alignment_separable = True

    @configurable
    def __init__(
        self,
        *,
        discriminators: Mapping[str, nn.Module],
        alignments: Mapping[str, Alignment],
        context: bool = False,
        rois_per_image: int = 32,
        **kwargs: Any,
    ) -> None:
        """
        Args:
            discriminators: any of "local", "global", "instance" -> module.
            alignments: how each of them is used, the same keys.
            context: append the pooled hidden features of "local" and "global" to every region
                feature; the RoI heads must have been built for it.
            rois_per_image: regions per image for "instance".
            kwargs: those of ``GeneralizedRCNN``.
        """
        super().__init__(**kwargs)
        self.discriminators = nn.ModuleDict(discriminators)
        self.alignments = dict(alignments)
        self.context_from = [k for k in ("local", "global") if context and k in discriminators]
        self.rois_per_image = rois_per_image
        self.num_classes = self.roi_heads.num_classes
        self.feature_strides = {k: s.stride for k, s in self.backbone.output_shape().items()}
        self._prefix = FrozenPrefix()
        #: Within :meth:`fixed_samples`, batches with the regions that "instance" saw of them.
        self._kept_regions: list[tuple[ImageList, list[Boxes]]] | None = None
        make_twice_differentiable(self)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        ret = super().from_config(cfg)
        discriminators, alignments = discriminators_from_config(
            cfg, ret["backbone"].output_shape(), ret["roi_heads"]
        )
        return {
            **ret,
            "discriminators": discriminators,
            "alignments": alignments,
            "context": cfg.MODEL.DA.CONTEXT,
            "rois_per_image": cfg.MODEL.DA.INSTANCE.ROIS_PER_IMAGE,
        }

    # ---- the contract -----------------------------------------------------------------------

    def task_losses(self, source: list[dict]) -> dict[str, Tensor]:
        """Faster R-CNN's losses: ``loss_rpn_cls``, ``loss_rpn_loc``, ``loss_cls``, ...

        Args:
            source: dicts with ``image`` (C, H, W) and ``instances``.
        """
        images, features = self._extract(source, SOURCE)
        return self._task_losses(source, images, features)

    def alignment_terms(self, source: list[dict], target: list[dict]) -> dict[str, LossTerm]:
        """``loss_da_<name>`` for each discriminator; an empty domain adds nothing."""
        return self._terms({SOURCE: source, TARGET: target}, {}, reverse=False)

    def backbone_features(self, images: list[dict]) -> dict[str, Tensor]:
        return self._extract(images)[1]

    @property
    def aligns(self) -> bool:
        """Whether there are discriminators, or a subclass gives terms of its own."""
        own = type(self).alignment_terms is not SWDARCNN.alignment_terms
        return own or bool(self.discriminators)

    def backbone_stages(self) -> dict[str, tuple[str, ...]]:
        return backbone_stages(self.backbone)

    def discriminator_prefixes(self) -> tuple[str, ...]:
        return ("discriminators",)

    @contextmanager
    def fixed_samples(self) -> Iterator[None]:
        memo = getattr(self.roi_heads, "fixed_samples", nullcontext)
        before = self._kept_regions
        if before is None:
            self._kept_regions = []
        try:
            with memo():
                yield
        finally:
            self._kept_regions = before

    @contextmanager
    def shared_prefix(self) -> Iterator[None]:
        with self._prefix.shared(self.backbone):
            yield

    # ---- as a Detectron2 model --------------------------------------------------------------

    def forward(self, batch: dict[str, list[dict]] | list[dict]) -> dict[str, Tensor] | list[dict]:
        """
        Args:
            batch: in training ``{"source": [...], "target": [...]}``, or a plain list of labelled
                images, which trains the task alone. In evaluation a list of inputs.

        Returns:
            dict[str, Tensor]: in training, losses to be added. Otherwise, a list with
            ``{"instances": Instances}`` for each input, as any Detectron2 detector.
        """
        if not self.training:
            return self.inference(batch)  # type: ignore[arg-type]
        if not isinstance(batch, dict):
            return self.task_losses(batch)
        source, target = batch["source"], batch.get("target", [])
        extracted = {SOURCE: self._extract(source, SOURCE)}
        losses = self._task_losses(source, *extracted[SOURCE])
        if target and self.discriminators:
            terms = self._terms({SOURCE: source, TARGET: target}, extracted, reverse=True)
            losses.update(joint_losses(terms))
        return losses

    def inference(
        self,
        batched_inputs: list[dict],
        detected_instances: list | None = None,
        do_postprocess: bool = True,
    ) -> list:
        """See ``GeneralizedRCNN.inference``; context vectors enter where they are switched on."""
        if not self.context_from or detected_instances is not None:
            return super().inference(batched_inputs, detected_instances, do_postprocess)
        images, features = self._extract(batched_inputs)
        proposals, _ = self.proposal_generator(images, features, None)
        context = self._context(images, features)
        results, _ = self.roi_heads(images, features, proposals, None, context=context)
        if do_postprocess:
            return GeneralizedRCNN._postprocess(results, batched_inputs, images.image_sizes)
        return results

    # ---- parts ------------------------------------------------------------------------------

    def _extract(
        self, inputs: list[dict], domain: int | None = None
    ) -> tuple[ImageList, dict[str, Tensor]]:
        """Images and features, of a domain in training; None = neither, such as in evaluation."""
        images = self._prefix.images(inputs, self.preprocess_image)
        how = nullcontext() if domain is None else self.backbone_pass(_DOMAIN_NAMES[domain])
        with how:
            return images, self.backbone(images.tensor)

    def _task_losses(
        self, source: list[dict], images: ImageList, features: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        instances = [x["instances"].to(self.device) for x in source]
        with self.stream("task"), self._sampling_from(images):
            proposals, losses = self.proposal_generator(images, features, instances)
            if self.context_from:
                context = self._context(images, features)
                _, found = self.roi_heads(images, features, proposals, instances, context=context)
            else:
                _, found = self.roi_heads(images, features, proposals, instances)
        if self.vis_period > 0 and get_event_storage().iter % self.vis_period == 0:
            # On the CPU, where a loader's annotations are and a teacher's labels are not.
            shown = [{**x, "instances": x["instances"].to("cpu")} for x in source]
            self.visualize_training(shown, proposals)
        return {**found, **losses}

    def _context(self, images: ImageList, features: dict[str, Tensor]) -> Tensor:
        """Context vectors, (N, sum of widths), of detached features (Saito et al. 2019, 3.3).

        The task trains the discriminators' hidden layers through them, but neither the backbone
        nor their BatchNorm statistics: these belong to the alignment pass.
        """
        vectors = []
        with frozen_batch_statistics(self.discriminators):
            for name in self.context_from:
                feature = features[self.alignments[name].feature].detach()
                valid = self._valid(images, self.alignments[name].feature, feature)
                vectors.append(self.discriminators[name](feature, valid)[1])
        return torch.cat(vectors, dim=1)

    def _terms(
        self, inputs: Mapping[int, list[dict]], extracted: dict, *, reverse: bool
    ) -> dict[str, LossTerm]:
        losses: dict[str, Tensor] = {}
        for domain, batch in inputs.items():
            if not batch or not self.discriminators:
                continue
            images, features = extracted.get(domain) or self._extract(batch, domain)
            with self.stream(f"alignment/{_DOMAIN_NAMES[domain]}"):
                for name in self.discriminators:
                    loss = 0.5 * self._domain_loss(name, domain, images, features, reverse)
                    losses[name] = losses[name] + loss if name in losses else loss
        return {
            f"loss_da_{name}": LossTerm(
                loss, self.alignments[name].weight, owner=f"discriminators.{name}"
            )
            for name, loss in losses.items()
        }

    def _domain_loss(
        self,
        name: str,
        domain: int,
        images: ImageList,
        features: dict[str, Tensor],
        reverse: bool,
    ) -> Tensor:
        """Mean of discriminator ``name``'s loss on one domain: over images, or over regions."""
        how = self.alignments[name]
        if name == "instance":
            x, valid = self._region_features(images, features), None
        else:
            x = features[how.feature]
            valid = self._valid(images, how.feature, x)
        if reverse:
            x = grad_reverse(x, how.weight)
        elif how.weight == 0:
            x = x.detach()
        out = self.discriminators[name](x) if valid is None else self.discriminators[name](x, valid)
        logits = out if isinstance(out, Tensor) else out[0]
        put_scalar(
            f"da/{name}_acc_{_DOMAIN_NAMES[domain]}", lambda: domain_accuracy(logits, domain)
        )
        if valid is None or logits.dim() == 2:
            return domain_loss(how.loss, logits, domain, gamma=how.gamma)
        losses = domain_loss(how.loss, logits, domain, gamma=how.gamma, reduction="none")
        inside = valid[:, 0]
        return ((losses * inside).sum(dim=(1, 2)) / inside.sum(dim=(1, 2))).mean()

    def _region_features(self, images: ImageList, features: dict[str, Tensor]) -> Tensor:
        """Features (R, C) of the best-scored proposals, the same rule in both domains."""
        # A pass without gradients is there for the statistics that it tracks at its parameters.
        if self._kept_regions is None or not torch.is_grad_enabled():
            return self.roi_heads.roi_features(features, self._best_regions(images, features))
        found = next((r for i, r in self._kept_regions if same_images(i, images)), None)
        if found is None:
            found = self._best_regions(images, features)
            self._kept_regions.append((images, found))
        return self.roi_heads.roi_features(features, found)

    def _best_regions(self, images: ImageList, features: dict[str, Tensor]) -> list[Boxes]:
        """Proposals made as in evaluation, without labels; they are constants of the step."""
        generator = self.proposal_generator
        was_training = generator.training
        generator.training = False  # this flag alone: the layers below keep their mode
        try:
            with torch.no_grad():
                proposals, _ = generator(images, features, None)
        finally:
            generator.training = was_training
        return [p.proposal_boxes[: self.rois_per_image] for p in proposals]

    def _valid(self, images: ImageList, name: str, feature: Tensor) -> Tensor | None:
        """Mask (N, 1, H, W) of the positions that images occupy; None where all are full.

        An exporter gets the mask where later images may be padded and its example is not; and it
        follows no assignment to a part of a tensor, nor (ONNX) a floor division of negatives.
        """
        stride = self.feature_strides[name]
        height, width = feature.shape[-2:]
        sizes = [((h - 1) // stride + 1, (w - 1) // stride + 1) for h, w in images.image_sizes]
        may_be_padded = torch.jit.is_tracing() and self.backbone.size_divisibility > 1
        if not may_be_padded and all(h >= height and w >= width for h, w in sizes):
            return None
        y = torch.arange(height, device=feature.device)[:, None]
        x = torch.arange(width, device=feature.device)
        return torch.stack([(y < h) & (x < w) for h, w in sizes])[:, None].to(feature.dtype)
