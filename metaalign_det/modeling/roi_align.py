"""Detectron2's RoIAlign layers made twice differentiable, which exact MetaAlign needs."""

from __future__ import annotations

from detectron2.layers import ROIAlign
from torch import nn

from ..coordination.ops.roi_align import TwiceDifferentiableROIAlign


def make_twice_differentiable(module: nn.Module) -> int:
    """Replace every Detectron2 ``ROIAlign`` inside ``module``, in place.

    Outputs, first gradients and ``state_dict`` stay what they were (there is no parameter in it).
    Subclasses of ``ROIAlign`` are left alone, since they may compute something else. A layer used
    in several places stays one layer.

    Args:
        module: usually a whole model, or a ``ROIPooler``; not itself a ``ROIAlign``.

    Returns:
        int: how many layers were replaced; 0 on a second call.

    Raises:
        ValueError: if ``module`` is itself a ``ROIAlign``, which cannot be replaced in place.
    """
    if type(module) is ROIAlign:
        raise ValueError("a ROIAlign cannot replace itself in place: pass the module around it")
    replaced: dict[nn.Module, nn.Module] = {}
    for parent in list(module.modules()):
        for name, child in list(parent._modules.items()):  # named_children() hides repetitions
            if type(child) is not ROIAlign:
                continue
            if child not in replaced:
                new = TwiceDifferentiableROIAlign(
                    child.output_size, child.spatial_scale, child.sampling_ratio, child.aligned
                )
                replaced[child] = new.train(child.training)
            setattr(parent, name, replaced[child])
    return len(replaced)
