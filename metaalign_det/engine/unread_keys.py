"""Keys that would switch a method on if only something read them."""

from __future__ import annotations

from detectron2.config import CfgNode

from ..errors import UserError


def check_unread_keys(cfg: CfgNode) -> None:
    """A method that is switched on must be one that this run has.

    What a model reads is known of this package's two; one of the user's own, also a subclass of
    theirs, may read anything.

    Raises:
        UserError: the run would train without a method that the config asks for.
    """
    architecture = cfg.MODEL.META_ARCHITECTURE
    if architecture == "SWDARCNN" and cfg.MODEL.ALIGN.METHOD != "none":
        raise UserError(
            f"MODEL.ALIGN.METHOD {cfg.MODEL.ALIGN.METHOD!r} is for classifiers, and SWDARCNN does "
            "not read it: set it to 'none' and switch on a discriminator of the detector "
            "(MODEL.DA.LOCAL.ENABLED, MODEL.DA.GLOBAL.ENABLED, MODEL.DA.INSTANCE.ENABLED)"
        )
    if architecture == "DomainAdaptiveClassifier":
        for name in ("LOCAL", "GLOBAL", "INSTANCE"):
            if cfg.MODEL.DA[name].ENABLED:
                raise UserError(
                    f"MODEL.DA.{name}.ENABLED is for detectors, and DomainAdaptiveClassifier does "
                    "not read it: set it to False and choose a method in MODEL.ALIGN.METHOD"
                )
    ours = architecture in ("SWDARCNN", "DomainAdaptiveClassifier")
    if ours and cfg.MODEL.ALIGN.TASK_ORIENTED and cfg.MODEL.ALIGN.METHOD == "none":
        raise UserError(
            "MODEL.ALIGN.TASK_ORIENTED says what a classifier's alignment looks at, and nothing is "
            "aligned by MODEL.ALIGN.METHOD 'none': choose a method there, or set it to False"
        )
    if cfg.TEACHER.CLASS_ODDS.ENABLED and not cfg.TEACHER.ENABLED:
        raise UserError(
            "TEACHER.CLASS_ODDS.ENABLED corrects a teacher's labels, but there is no teacher: set "
            "TEACHER.ENABLED True, or TEACHER.CLASS_ODDS.ENABLED False"
        )
