"""The ways of computing a step's gradients that are measured, and what each should cost."""

from __future__ import annotations

from dataclasses import dataclass

from detectron2.config import CfgNode


@dataclass(frozen=True)
class Arm:
    """One way of computing a step's gradients.

    Args:
        label: for the table.
        cost: the cost model, forwards (b, h, d) a step with one image of each domain, a backward
            pass counted as two forwards, a Hessian-vector product as twice forward and backward,
            and an evaluation for its graph alone as two, without gradients of weights.
        opts: KEY, VALUE pairs that choose it.
        authors: "" for what the package trains with; otherwise the role that looks ahead in the
            authors' own scheme (:mod:`.authors`).
    """

    label: str
    cost: tuple[int, int, int]
    opts: tuple[str, ...] = ()
    authors: str = ""

    @property
    def strong_target(self) -> bool:
        """Whether the batch has strong views of the target."""
        return "TEACHER.ENABLED" in self.opts


def _metaalign(role: str = "alignment", order: str = "first", hvp: str = "keep_graph") -> tuple:
    return (
        "METAALIGN.ENABLED", "True", "METAALIGN.ROLE", role, "METAALIGN.ORDER", order,
        "METAALIGN.HVP", hvp,
    )  # fmt: skip


def _teacher(method: str) -> tuple[str, ...]:
    # Random weights are sure of nothing: every detection is a label.
    return (
        "EMA.ENABLED", "True", "TEACHER.ENABLED", "True", "TEACHER.METHOD", method,
        "TEACHER.THRESHOLD", "0.0", "TEACHER.START_ITER", "0", "INPUT.VIEWS.TARGET", "both",
        "DATASETS.TARGET", "('noise',)",
    )  # fmt: skip


#: What an arm's own options start from: joint training, whatever the config says.
_JOINT = (
    "METAALIGN.ENABLED", "False", "ADAPTATION.COORDINATOR", "joint", "ADAPTATION.BURN_IN", "0",
    "EMA.ENABLED", "False", "TEACHER.ENABLED", "False",
)  # fmt: skip

#: Name on the command line -> arm.
ARMS: dict[str, Arm] = {
    "plain": Arm("plain joint training", (6, 3, 6)),
    "first-alignment": Arm("first order, role alignment", (9, 3, 6), _metaalign()),
    "first-task": Arm("first order, role task", (9, 3, 6), _metaalign("task")),
    "exact-keep": Arm("exact, keep_graph", (21, 3, 18), _metaalign(order="exact")),
    "exact-recompute": Arm(
        "exact, recompute", (25, 3, 22), _metaalign(order="exact", hvp="recompute")
    ),
    "exact-keep-task": Arm("exact, keep_graph, role task", (15, 9, 6), _metaalign("task", "exact")),
    "exact-recompute-task": Arm(
        "exact, recompute, role task", (17, 11, 6), _metaalign("task", "exact", "recompute")
    ),
    "authors-alignment": Arm(
        "the authors' scheme, role alignment", (13, 3, 10), authors="alignment"
    ),
    "authors-task": Arm("the authors' scheme, role task", (11, 5, 6), authors="task"),
    "pcgrad": Arm("PCGrad", (9, 3, 6), ("ADAPTATION.COORDINATOR", "pcgrad")),
    "extragradient": Arm("extragradient", (18, 6, 12), ("ADAPTATION.COORDINATOR", "extragradient")),
    "sdat": Arm("SDAT", (12, 6, 6), ("ADAPTATION.COORDINATOR", "sdat")),
    "teacher-hard": Arm("teacher, pseudo-labels, joint", (10, 7, 6), _teacher("hard")),
    "teacher-soft": Arm("teacher, distillation, joint", (10, 8, 6), _teacher("soft")),
    "teacher-hard-first": Arm(
        "teacher, pseudo-labels, first order", (13, 7, 6), (*_teacher("hard"), *_metaalign())
    ),
    "teacher-soft-first": Arm(
        "teacher, distillation, first order", (13, 8, 6), (*_teacher("soft"), *_metaalign())
    ),
}

#: What is measured unless the command line says otherwise.
MAIN_ARMS = (
    "plain", "first-alignment", "first-task", "exact-keep", "exact-recompute",
    "authors-alignment", "authors-task",
)  # fmt: skip


def cfg_of(arm: Arm, cfg: CfgNode) -> CfgNode:
    """A config with the arm's options in place of its own coordinator and teacher."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.merge_from_list([*_JOINT, *arm.opts])
    return cfg
