"""The stage groups of a backbone, from the input on."""

from __future__ import annotations

from torch import nn


def backbone_stages(backbone: nn.Module, prefix: str = "backbone") -> dict[str, tuple[str, ...]]:
    """Stage name -> prefixes of the names of its parameters.

    A backbone with a method ``stages()`` (name -> prefixes relative to itself) decides for
    itself. Of the others, a stem is one group with the stage after it, as in the paper
    (ResNet: {stem+res2}, {res3}, {res4}, {res5}); a feature pyramid's own layers are one group
    after the stages of its bottom-up network; and of anything else each child is a stage.

    Args:
        backbone: any Detectron2 backbone.
        prefix: where it lives in the model.
    """
    if hasattr(backbone, "stages") and callable(backbone.stages):
        inner = backbone.stages()
        return {k: tuple(f"{prefix}.{p}" for p in ps) for k, ps in inner.items()}
    children = [n for n, m in backbone.named_children() if any(True for _ in m.parameters())]
    if "bottom_up" in children:
        stages = backbone_stages(backbone.bottom_up, f"{prefix}.bottom_up")
        pyramid = tuple(f"{prefix}.{n}" for n in children if n != "bottom_up")
        return {**stages, "fpn": pyramid} if pyramid else stages
    children = [n for n in children if n != "linear"]  # a ResNet's ImageNet classifier
    if len(children) > 1 and children[0] == "stem":
        first = f"stem+{children[1]}"
        stages = {first: (f"{prefix}.stem", f"{prefix}.{children[1]}")}
        return {**stages, **{n: (f"{prefix}.{n}",) for n in children[2:]}}
    return {n: (f"{prefix}.{n}",) for n in children}
