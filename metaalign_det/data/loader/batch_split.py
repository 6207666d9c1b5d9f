"""How the images of a step fall into domains, processes and micro-batches: the one rule for it."""

from __future__ import annotations

from dataclasses import dataclass

from detectron2.config import CfgNode
from detectron2.utils import comm

from ...alignment.registry import ALIGNMENT_METHODS
from ...errors import UserError
from ..catalog.domains import source_domains


@dataclass(frozen=True)
class BatchSplit:
    """The images of one step.

    Attributes:
        domains: number of source domains.
        per_domain: images of each source domain per step, over all processes.
        target: images of the target per step, over all processes; 0 without a target.
        shares: equal parts that each of these falls into: processes times micro-batches.
    """

    domains: int
    per_domain: int
    target: int
    shares: int

    def __str__(self) -> str:
        """What ``SOLVER.IMS_PER_BATCH`` comes to, over all processes and in each; for the log."""
        source, world = self.domains * self.per_domain, comm.get_world_size()
        kinds = {"source": source, "target": self.target}
        whole = " and ".join(f"{n} {kind}" for kind, n in kinds.items() if n)
        domains = f", of {self.domains} source domains," if self.domains > 1 else ""
        text = f"every step takes {whole} images{domains} over all processes"
        if self.shares == 1:
            return text.removesuffix(" over all processes").rstrip(",")
        parts = " and ".join(str(n // self.shares) for n in kinds.values() if n)
        text += f": {parts} in each of {world}" if world > 1 else f": {parts} at a time"
        if (micro := self.shares // world) > 1:
            text += f", {micro} times (SOLVER.ACCUMULATION_STEPS)"
        return text


def split_batch_sizes(cfg: CfgNode) -> BatchSplit:
    """``SOLVER.IMS_PER_BATCH`` and ``IMS_PER_BATCH_TARGET``, split.

    Each process gets an equal part of each domain, and so does each of its
    ``SOLVER.ACCUMULATION_STEPS`` micro-batches.

    Raises:
        UserError: a size that cannot be split like that; names the multiple it must be.
    """
    steps, world = cfg.SOLVER.ACCUMULATION_STEPS, comm.get_world_size()
    if steps < 1:
        raise UserError(f"SOLVER.ACCUMULATION_STEPS must be >= 1, got {steps}")
    domains = len(source_domains(cfg))
    source = cfg.SOLVER.IMS_PER_BATCH
    target = (cfg.SOLVER.IMS_PER_BATCH_TARGET or source) if cfg.DATASETS.TARGET else 0
    for key, size, parts in _sizes(cfg, domains):
        multiple = world * steps * parts
        if size < 1 or size % multiple:
            over = f"{parts} source domains, " if parts > 1 else ""
            raise UserError(
                f"{key} = {size} cannot be split over {over}{_described(world, steps)}; make it "
                f"a multiple of {multiple}"
            )
    return BatchSplit(domains, source // domains, target, world * steps)


def check_batches(cfg: CfgNode) -> BatchSplit:
    """The batch split of a training, large enough for its alignment method.

    Raises:
        UserError: as :func:`split_batch_sizes`, or fewer images of a domain at a time than
            ``MODEL.ALIGN.METHOD`` needs.
    """
    split = split_batch_sizes(cfg)
    method = ALIGNMENT_METHODS.get(cfg.MODEL.ALIGN.METHOD)
    if method is None:
        return split
    for key, size, parts in _sizes(cfg, split.domains):
        together = cfg.MODEL.ALIGN.BETWEEN == "target"  # all sources are one domain
        each = size // split.shares // (1 if together else parts)
        if each < method.min_images:
            described = _described(comm.get_world_size(), cfg.SOLVER.ACCUMULATION_STEPS)
            raise UserError(
                f"MODEL.ALIGN.METHOD {cfg.MODEL.ALIGN.METHOD!r} compares distributions and needs "
                f"at least {method.min_images} images of each domain at a time, but {key} = "
                f"{size} over {split.domains} source domain(s), {described} leaves {each}"
            )
    return split


def _sizes(cfg: CfgNode, domains: int) -> list[tuple[str, int, int]]:
    """(key, images per step, domains among which they are split) of what a config sets."""
    sizes = [("SOLVER.IMS_PER_BATCH", cfg.SOLVER.IMS_PER_BATCH, domains)]
    if cfg.DATASETS.TARGET and cfg.SOLVER.IMS_PER_BATCH_TARGET:
        sizes.append(("SOLVER.IMS_PER_BATCH_TARGET", cfg.SOLVER.IMS_PER_BATCH_TARGET, 1))
    return sizes


def _described(world: int, steps: int) -> str:
    return f"{world} process(es) and SOLVER.ACCUMULATION_STEPS = {steps}"
