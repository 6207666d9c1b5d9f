#!/usr/bin/env python
"""Train or evaluate a domain-adaptive detector or classifier.

tools/train_net.py --config-file configs/voc2watercolor_swda_meta.yaml
tools/train_net.py --config-file ... --resume
tools/train_net.py --config-file ... --eval-only MODEL.WEIGHTS output/model_final.pth
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from metaalign_det.cli.train import main_cli

if __name__ == "__main__":
    sys.exit(main_cli())
