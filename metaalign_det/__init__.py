"""Unsupervised domain adaptation for Detectron2, with MetaAlign's coordinated update."""

from __future__ import annotations

from .cli.quiet import silence_third_party

silence_third_party()

__version__ = "0.1.0"
