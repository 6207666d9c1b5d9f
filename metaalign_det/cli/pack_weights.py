"""Pack the weights of a checkpoint, of the student or of the teacher, into one small file.

metaalign-det pack-weights output/mini/pretrain/model_final.pth weights.safetensors
metaalign-det pack-weights output/run/model_final.pth weights.safetensors --teacher --half
metaalign-det pack-weights output/run/model_final.pth adapted.safetensors --statistics-of drawings/

The file has the weights alone, with the run's config and class names in its header; any training
starts from it with MODEL.WEIGHTS. The same checkpoint gives the same bytes: their SHA-256 is
printed.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("checkpoint", metavar="CHECKPOINT", help="a .pth of a training")
    add("output", metavar="FILE", help="a .safetensors to write")
    add("--teacher", action="store_true", help="the average of the weights (EMA), not the student")
    add("--half", action="store_true", help="in half precision: half the size")
    add(
        "--statistics-of",
        nargs="+",
        default=[],
        metavar="IMAGES",
        help="replace BatchNorm's statistics by those of these images, folders, globs or videos",
    )
    add("--overwrite", action="store_true", help="replace FILE")


def run(args: argparse.Namespace) -> int:
    import hashlib
    from pathlib import Path

    from ..modeling.weight_files import read_weight_file, weights_in, write_tensors

    output = Path(args.output)
    if output.suffix != ".safetensors":
        raise UserError(f"{output}: the name must end in .safetensors")
    if output.is_dir():
        raise UserError(f"{output} is a folder: name the file to write")
    if output.exists() and not args.overwrite:
        raise UserError(f"{output} exists already; --overwrite replaces it")
    content = read_weight_file(args.checkpoint)
    if args.teacher and "teacher" not in content:
        raise UserError(f"{args.checkpoint} has no teacher: it was trained without EMA.ENABLED")
    weights = weights_in(content["teacher"] if args.teacher else content, args.checkpoint)
    if args.statistics_of:
        weights = _adapted(args)
    if args.half:
        weights = {k: _halved(k, v) for k, v in weights.items()}
    about = content.get("metaalign") or {}
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(weights, output, {k: about[k] for k in ("config", "classes") if k in about})
    except FileNotFoundError as error:  # other faults of the place are explained like anybody's
        raise UserError(f"{output}: its folder is not there and cannot be made") from error
    data = output.read_bytes()
    print(f"{output}: {len(data) / 1e6:.1f} MB, sha256 {hashlib.sha256(data).hexdigest()}")
    return 0


def _halved(name: str, value: Tensor) -> Tensor:
    if not value.is_floating_point():
        return value
    half = value.half()
    if half.isinf().any() and not value.isinf().any():
        raise UserError(
            f"{name} has values above 65,504, the most that half precision holds: leave out --half"
        )
    return half


def _adapted(args: argparse.Namespace) -> dict[str, Tensor]:
    """The weights, with statistics of images in place of the checkpoint's."""
    from ..explain.predict import Predictor
    from ..explain.predict_inputs import find_inputs
    from ..explain.predict_statistics import take_statistics

    files = find_inputs(args.statistics_of)
    predictor = Predictor.from_checkpoint(args.checkpoint, teacher=args.teacher)
    print(take_statistics(predictor, files))
    return {k: v.cpu() for k, v in predictor.model.state_dict().items()}
