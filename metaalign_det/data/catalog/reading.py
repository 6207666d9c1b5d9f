"""One reading of each data set per run, for whoever asks: checks, loader and evaluator."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from ...errors import BadImageError, UserError
from ..formats.paths import show
from ..formats.problems import collected
from ..views.detection import without_labels
from .domain import Domain
from .foreign import complete, measured


class DataReader:
    """Reads a data set at most once, and at most once more without its labels.

    The two are kept apart: a target is read without its annotations, and a data set may list
    other images then (a split without its empty images is defined by the labels).

    What was read is kept pickled. That is compact, and every caller gets dicts of its own: what
    one changes, no other sees.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, bool, bool], bytes] = {}

    def read(
        self, name: str, *, labels: bool, bad: list[BadImageError] | None = None
    ) -> list[dict]:
        """Dataset dicts of a registered data set, checked and complete.

        Args:
            name: in Detectron2's ``DatasetCatalog``.
            labels: False = without them, and annotations on disk are not even looked at if the
                registered function has a method ``without_labels``, as those of this package.
            bad: images that are missing or damaged are left out and added to this list; None = the
                first of them is an error.

        Raises:
            UserError: data missing or wrong, or no images.
        """
        key = (name, labels, bad is not None)
        if key in self._kept:
            dicts, found = pickle.loads(self._kept[key])
        else:
            with nullcontext([]) if bad is None else collected(BadImageError) as errors:
                dicts = _read(name, labels)
            found = [(error.file, error.reason) for error in errors]
            self._kept[key] = pickle.dumps((dicts, found), protocol=pickle.HIGHEST_PROTOCOL)
        if bad is not None:
            bad += [BadImageError(*pair) for pair in found]
        return dicts


_current: ContextVar[DataReader | None] = ContextVar("reader of this run", default=None)


@contextmanager
def read_once() -> Iterator[DataReader]:
    """Within a ``with`` block, each data set is read from disk at most once in this process.

    The run opens it, as it opens Detectron2's ``EventStorage``: checks, loader and evaluator,
    which Detectron2 calls with nothing but the config and a name, then find the same reader.
    Nested blocks share the outermost one's. Outside of any, everything is read when it is asked
    for, and nothing is kept.

    Yields:
        DataReader: the one in use.
    """
    reader = _current.get()
    if reader is not None:
        yield reader
        return
    token = _current.set(reader := DataReader())
    try:
        yield reader
    finally:
        _current.reset(token)


def read_data_set(name: str, *, labels: bool, bad: list[BadImageError] | None = None) -> list[dict]:
    """:meth:`DataReader.read` of the run's reader, or of a fresh one outside :func:`read_once`."""
    return (_current.get() or DataReader()).read(name, labels=labels, bad=bad)


def left_out(cfg: CfgNode) -> list[BadImageError] | None:
    """The ``bad`` of :meth:`DataReader.read` for training images, by ``DATALOADER.ON_BAD_IMAGE``.

    Returns:
        list: empty, to be filled, where training goes on without bad images; None where they are
        errors.
    """
    return [] if cfg.DATALOADER.ON_BAD_IMAGE == "skip" else None


def _read(name: str, labels: bool) -> list[dict]:
    function = DatasetCatalog[name]
    try:
        dicts = function() if labels else getattr(function, "without_labels", function)()
    # The rest from data sets that Detectron2 registers.
    except FileNotFoundError as error:
        raise UserError(f"data set {name!r}: {error.filename} does not exist") from error
    except AssertionError as error:  # of a file that is not there; of the user's own code: a bug
        if not getattr(function, "__module__", "").startswith("detectron2."):
            raise
        raise UserError(f"data set {name!r}: {error} is missing, or not as expected") from error
    except (KeyError, ValueError) as error:  # of a COCO JSON that lacks a key, or is none
        if not getattr(function, "__module__", "").startswith("detectron2."):
            raise
        what = f"the key {error} is missing" if isinstance(error, KeyError) else str(error)
        raise UserError(
            f"data set {name!r}: its annotations are not as Detectron2 expects them: {what}. "
            "Registered with FORMAT coco or voc (datasets/README.md), entries that are wrong are "
            "named"
        ) from error
    except ModuleNotFoundError as error:
        raise UserError(
            f"data set {name!r} is read with the Python package {error.name}, which is not "
            f"installed: pip install {error.name}"
        ) from error
    if not dicts:
        raise UserError(f"data set {name!r} has no images")
    if isinstance(function, Domain):
        return dicts
    if not isinstance(dicts, list) or not all(isinstance(d, dict) for d in dicts):
        raise UserError(
            f"data set {name!r}: its function must return a list of dicts, as Detectron2 defines "
            f"them, not {show(dicts)}"
        )
    if not labels:
        dicts = [without_labels(d) for d in dicts]
    metadata = MetadataCatalog.get(name)
    dicts = complete(name, dicts, metadata.get("thing_classes", None) if labels else None)
    boxes = not labels or all("annotations" in d for d in dicts)
    if boxes and metadata.get("evaluator_type", None) != "classification":
        return measured(dicts)
    return dicts
