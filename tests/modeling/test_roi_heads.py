"""RoI heads with context vectors: Detectron2's own without them, a concatenation with them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode, get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling.roi_heads import build_roi_heads
from detectron2.structures import BitMasks, Boxes, ImageList, Instances
from detectron2.utils.events import EventStorage
from torch import Tensor, nn

from metaalign_det.config import add_metaalign_config
from metaalign_det.errors import UserError
from metaalign_det.modeling.roi_heads import context_dim

SIZES = [(96, 128), (80, 128)]
STOCK = {"ContextRes5ROIHeads": "Res5ROIHeads", "ContextStandardROIHeads": "StandardROIHeads"}
HEADS = list(STOCK)
D_LOCAL, D_GLOBAL = 3, 4


@pytest.fixture(autouse=True)
def _storage():
    with EventStorage():
        yield


def config(name: str, context: bool = False) -> CfgNode:
    cfg = get_cfg()
    add_metaalign_config(cfg)
    cfg.MODEL.ROI_HEADS.NAME = name
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 3
    cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 8
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION = 4
    cfg.MODEL.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
    cfg.MODEL.ROI_BOX_HEAD.NUM_FC = 1
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 16
    cfg.MODEL.ROI_MASK_HEAD.CONV_DIM = 4
    cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 8
    cfg.MODEL.RESNETS.WIDTH_PER_GROUP = 2
    if context:
        cfg.MODEL.DA.CONTEXT = True
        cfg.MODEL.DA.LOCAL.ENABLED = cfg.MODEL.DA.GLOBAL.ENABLED = True
        cfg.MODEL.DA.LOCAL.HIDDEN = [8, D_LOCAL]
        cfg.MODEL.DA.GLOBAL.HIDDEN = [8, D_GLOBAL]
    return cfg


def build(cfg: CfgNode, seed: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    return build_roi_heads(cfg, {"res4": ShapeSpec(channels=32, stride=16)})


def images() -> ImageList:
    return ImageList(torch.zeros(2, 3, 96, 128), SIZES)


def features(seed: int = 2) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"res4": torch.randn(2, 32, 6, 8, generator=generator)}


def random_boxes(n: int, size: tuple[int, int], generator: torch.Generator) -> Boxes:
    top_left = torch.rand(n, 2, generator=generator) * 40
    boxes = Boxes(
        torch.cat([top_left, top_left + 10 + torch.rand(n, 2, generator=generator) * 40], 1)
    )
    boxes.clip(size)
    return boxes


def proposals(seed: int = 3, counts: tuple[int, int] = (30, 20)) -> list[Instances]:
    generator = torch.Generator().manual_seed(seed)
    return [
        Instances(
            size,
            proposal_boxes=random_boxes(n, size, generator),
            objectness_logits=torch.randn(n, generator=generator),
        )
        for n, size in zip(counts, SIZES)
    ]


def targets(seed: int = 4, masks: bool = False) -> list[Instances]:
    generator = torch.Generator().manual_seed(seed)
    found = []
    for n, size in zip((2, 3), SIZES):
        x = Instances(size, gt_boxes=random_boxes(n, size, generator), gt_classes=torch.arange(n))
        if masks:
            x.gt_masks = BitMasks(torch.rand(n, *size, generator=generator) > 0.5)
        found.append(x)
    return found


def context(seed: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, D_LOCAL + D_GLOBAL, generator=generator)


def losses_of(heads: nn.Module, seed: int = 6, **kwargs) -> dict[str, Tensor]:
    torch.manual_seed(seed)  # the sampling of regions
    return heads.train()(images(), features(), proposals(), targets(), **kwargs)[1]


def detections_of(heads: nn.Module, **kwargs) -> list[Instances]:
    with torch.no_grad():
        return heads.eval()(images(), features(), proposals(), None, **kwargs)[0]


def assert_same_detections(a: list[Instances], b: list[Instances]) -> None:
    for x, y in zip(a, b):
        assert len(x) == len(y) > 0
        assert torch.equal(x.pred_boxes.tensor, y.pred_boxes.tensor)
        assert torch.equal(x.scores, y.scores)


# ---- without context ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", HEADS)
def test_without_context_they_are_detectron2s_own_heads(name):
    ours, stock = build(config(name)), build(config(STOCK[name]))
    assert ours.context_dim == 0
    for (a, x), (b, y) in zip(ours.state_dict().items(), stock.state_dict().items(), strict=True):
        assert a == b
        assert torch.equal(x, y)
    a, b = losses_of(ours), losses_of(stock)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert_same_detections(detections_of(ours), detections_of(stock))


def test_width_of_the_context_is_that_of_the_enabled_discriminators():
    cfg = config(HEADS[0], context=True)
    assert context_dim(cfg) == D_LOCAL + D_GLOBAL
    cfg.MODEL.DA.LOCAL.ENABLED = False
    assert context_dim(cfg) == D_GLOBAL
    cfg.MODEL.DA.CONTEXT = False
    assert context_dim(cfg) == 0
    assert context_dim(config(HEADS[0])) == 0


# ---- with context -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HEADS)
def test_predictor_is_one_linear_layer_on_the_concatenation(name):
    heads = build(config(name, context=True))
    predictor = heads.box_predictor
    x, c = torch.randn(5, heads.roi_feature_dim), torch.randn(5, heads.context_dim)
    scores, deltas = predictor(x, c)
    wide = torch.cat([x, c], dim=1)
    for out, layer, extra in (
        (scores, predictor.cls_score, predictor.context_score),
        (deltas, predictor.bbox_pred, predictor.context_pred),
    ):
        weight = torch.cat([layer.weight, extra.weight], dim=1)
        torch.testing.assert_close(out, F.linear(wide, weight, layer.bias))


@pytest.mark.parametrize("name", HEADS)
def test_regions_get_the_context_of_their_own_image(name):
    heads = build(config(name, context=True)).eval()
    seen = []
    heads.box_predictor.register_forward_pre_hook(lambda _, args: seen.append(args[1]))
    c = context()
    detections_of(heads, context=c)
    assert torch.equal(seen[0], torch.cat([c[0].expand(30, -1), c[1].expand(20, -1)]))


@pytest.mark.parametrize("name", HEADS)
def test_context_reaches_losses_and_detections(name):
    heads = build(config(name, context=True))
    for p in (heads.box_predictor.context_score, heads.box_predictor.context_pred):
        nn.init.normal_(p.weight, std=1.0)
    c = context().requires_grad_()
    losses = losses_of(heads, context=c)
    (gradient,) = torch.autograd.grad(losses["loss_cls"] + losses["loss_box_reg"], c)
    assert (gradient.abs().sum(dim=1) > 0).all()
    a = detections_of(heads, context=c.detach())
    b = detections_of(heads, context=-c.detach())
    assert any(len(x) != len(y) or not torch.equal(x.scores, y.scores) for x, y in zip(a, b))


@pytest.mark.parametrize("name", HEADS)
def test_with_a_zero_context_they_compute_what_the_stock_heads_compute(name):
    stock = build(config(STOCK[name]))
    heads = build(config(name, context=True))
    heads.load_state_dict(stock.state_dict(), strict=False)
    zero = torch.zeros_like(context())
    ours, theirs = losses_of(heads, context=zero), losses_of(stock)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)
    assert_same_detections(detections_of(heads, context=zero), detections_of(stock))


@pytest.mark.parametrize("name", HEADS)
def test_weights_of_a_source_only_detector_all_load(name, tmp_path):
    source_only = build(config(name), seed=7)
    DetectionCheckpointer(source_only, str(tmp_path)).save("source")
    heads = build(config(name, context=True), seed=8)
    DetectionCheckpointer(heads).load(str(tmp_path / "source.pth"))
    loaded = heads.state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in source_only.state_dict().items())


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("on_predictions", [False, True])
def test_mask_branch_gets_what_it_gets_without_context(name, on_predictions):
    def masked(name: str, context: bool) -> nn.Module:
        cfg = config(name, context)
        cfg.MODEL.MASK_ON = True
        cfg.MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES = on_predictions
        return build(cfg)

    stock, heads = masked(STOCK[name], False), masked(name, True)
    heads.load_state_dict(stock.state_dict(), strict=False)
    found = []
    for model, kwargs in ((stock, {}), (heads, {"context": torch.zeros_like(context())})):
        torch.manual_seed(9)
        _, losses = model.train()(images(), features(), proposals(), targets(masks=True), **kwargs)
        found.append(losses)
    assert "loss_mask" in found[0]
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(found[0][k], found[1][k]) for k in found[0])
    assert detections_of(heads, context=context())[0].has("pred_masks")


@pytest.mark.parametrize("name", HEADS)
def test_context_of_the_wrong_kind_is_an_error(name):
    with pytest.raises(UserError, match="META_ARCHITECTURE SWDARCNN"):
        losses_of(build(config(name, context=True)))
    with pytest.raises(ValueError, match=r"\(2, 7\).*\(1, 7\)"):
        losses_of(build(config(name, context=True)), context=context()[:1])
    with pytest.raises(ValueError, match="without MODEL.DA.CONTEXT"):
        losses_of(build(config(name)), context=context())


# ---- region features ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("with_context", [False, True])
def test_region_features_are_what_the_predictor_sees(name, with_context):
    heads = build(config(name, with_context)).eval()
    seen = []
    heads.box_predictor.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    detections_of(heads, **({"context": context()} if with_context else {}))
    found = heads.roi_features(features(), [p.proposal_boxes for p in proposals()])
    assert found.shape == (50, heads.roi_feature_dim)
    assert torch.equal(found, seen[0])


@pytest.mark.parametrize("name", HEADS)
def test_region_features_of_no_region(name):
    heads = build(config(name)).eval()
    empty = [Boxes(torch.zeros(0, 4))] * 2
    assert heads.roi_features(features(), empty).shape == (0, heads.roi_feature_dim)


def test_region_features_of_a_convolutional_box_head_are_flat():
    cfg = config("ContextStandardROIHeads")
    cfg.MODEL.ROI_BOX_HEAD.NUM_FC, cfg.MODEL.ROI_BOX_HEAD.NUM_CONV = 0, 1
    cfg.MODEL.ROI_BOX_HEAD.CONV_DIM = 5
    heads = build(cfg)
    found = heads.roi_features(features(), [p.proposal_boxes for p in proposals()])
    assert found.shape == (50, heads.roi_feature_dim) == (50, 5 * 4 * 4)


# ---- kept samples -------------------------------------------------------------------------------


def boxes_of(instances: list[Instances]) -> Tensor:
    return torch.cat([x.proposal_boxes.tensor for x in instances])


@pytest.mark.parametrize("name", HEADS)
def test_samples_are_kept_within_the_block_only(name):
    heads = build(config(name)).train()
    with heads.fixed_samples():
        first = heads.label_and_sample_proposals(proposals(seed=10), targets())
        again = heads.label_and_sample_proposals(proposals(seed=11), targets())
    after = heads.label_and_sample_proposals(proposals(seed=11), targets())
    assert torch.equal(boxes_of(first), boxes_of(again))
    for a, b in zip(first, again):
        assert a is not b
        assert torch.equal(a.gt_classes, b.gt_classes)
        assert torch.equal(a.gt_boxes.tensor, b.gt_boxes.tensor)
    assert not torch.equal(boxes_of(again), boxes_of(after))


def test_batches_of_one_step_keep_their_own_samples():
    heads = build(config(HEADS[0])).train()
    with heads.fixed_samples():
        a = heads.label_and_sample_proposals(proposals(), targets(seed=12))
        b = heads.label_and_sample_proposals(proposals(), targets(seed=13))
        # New objects with the same annotation, as after a copy to another device, in any order.
        b2 = heads.label_and_sample_proposals(proposals(seed=14), targets(seed=13))
        a2 = heads.label_and_sample_proposals(proposals(seed=14), targets(seed=12))
    assert not torch.equal(boxes_of(a), boxes_of(b))
    assert torch.equal(boxes_of(a), boxes_of(a2))
    assert torch.equal(boxes_of(b), boxes_of(b2))


def test_inner_block_keeps_the_samples_of_the_outer_one():
    heads = build(config(HEADS[0])).train()
    with heads.fixed_samples():
        first = heads.label_and_sample_proposals(proposals(seed=10), targets())
        with heads.fixed_samples():
            heads.label_and_sample_proposals(proposals(seed=11), targets())
        again = heads.label_and_sample_proposals(proposals(seed=12), targets())
    assert torch.equal(boxes_of(first), boxes_of(again))


def test_an_exception_ends_the_block():
    heads = build(config(HEADS[0])).train()
    with pytest.raises(RuntimeError), heads.fixed_samples():
        first = heads.label_and_sample_proposals(proposals(seed=10), targets())
        raise RuntimeError
    after = heads.label_and_sample_proposals(proposals(seed=11), targets())
    assert not torch.equal(boxes_of(first), boxes_of(after))


def test_random_numbers_continue_as_after_the_first_sampling():
    """Or dropout behind the sampling would draw other masks in the second pass."""
    heads = build(config(HEADS[0])).train()
    with heads.fixed_samples():
        heads.label_and_sample_proposals(proposals(seed=10), targets())
        behind = torch.rand(3)
        heads.label_and_sample_proposals(proposals(seed=11), targets())
        assert torch.equal(torch.rand(3), behind)


@pytest.mark.parametrize("with_context", [False, True])
def test_what_a_head_does_to_its_samples_does_not_reach_the_kept_ones(with_context):
    cfg = config("ContextStandardROIHeads", with_context)
    cfg.MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES = True  # overwrites proposal_boxes
    heads = build(cfg).train()
    kwargs = {"context": context()} if with_context else {}
    with heads.fixed_samples():
        first = losses_of(heads, seed=1, **kwargs)
        second = losses_of(heads, seed=2, **kwargs)
        third = losses_of(heads, seed=3, **kwargs)
    for other in (second, third):
        assert all(torch.equal(first[k], other[k]) for k in first)
