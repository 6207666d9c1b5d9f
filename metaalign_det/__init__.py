"""Unsupervised domain adaptation for Detectron2, with MetaAlign's coordinated update."""

from __future__ import annotations

__version__ = "0.1.0"
