"""What a training with ``DATALOADER.ON_BAD_IMAGE`` "skip" says at its end."""

from __future__ import annotations

from detectron2.engine import HookBase


class SummariseBadImages(HookBase):
    """Lists the images that training went without, also when it was interrupted or failed."""

    def after_train(self) -> None:
        loader = self.trainer._trainer.data_loader
        loader = getattr(loader, "loader", loader)  # SaveOnLoaderFailure stands in front of it
        bad_images = getattr(loader, "bad_images", None)
        if bad_images is not None:
            bad_images.summarise()
