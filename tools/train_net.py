#!/usr/bin/env python
"""``metaalign-det train`` under the name it has in Detectron2's projects; also uninstalled.

tools/train_net.py --config-file configs/voc2watercolor_swda_meta.yaml
tools/train_net.py --config-file ... --resume
tools/train_net.py --config-file ... --eval-only MODEL.WEIGHTS output/model_final.pth
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from metaalign_det.cli.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
