"""``metaalign-det predict`` in this process, and what it leaves."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from metaalign_det.cli import predict


def run(*args) -> int:
    parser = argparse.ArgumentParser()
    predict.add_arguments(parser)
    return predict.run(parser.parse_args([str(a) for a in args]))


def below(folder: Path) -> list[str]:
    """Names of all files in a folder, however deep."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def write_video(path: Path, values) -> Path:
    """A video of grey frames, of these values."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (96, 64))
    for value in values:
        writer.write(np.full((64, 96, 3), value, np.uint8))
    writer.release()
    return path
