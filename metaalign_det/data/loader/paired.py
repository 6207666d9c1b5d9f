"""Two ordinary loaders as one of named views, for trainers that bring their own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..views.detection import without_labels


class PairedLoader:
    """Iterates over ``{"source": [...], "target": [...]}`` from a loader of each domain.

    ::

        PairedLoader(
            build_detection_train_loader(cfg, mapper=my_mapper),
            build_detection_train_loader(target_cfg, mapper=my_mapper),
        )

    Whatever annotation the target's loader yields is dropped here. It ends where one of the two
    ends; Detectron2's training loaders never do.

    Args:
        source: yields lists of labelled images in Detectron2's format.
        target: yields lists of images.
    """

    def __init__(self, source: Iterable[list[dict]], target: Iterable[list[dict]]) -> None:
        self.source = source
        self.target = target

    def __iter__(self) -> Iterator[dict[str, list[dict]]]:
        for source, target in zip(self.source, self.target):
            yield {
                "source": [{"domain": 0, **image} for image in source],
                "target": [
                    {**without_labels(image), "image": image["image"], "domain": 1}
                    for image in target
                ],
            }
