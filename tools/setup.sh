#!/bin/sh
# Set everything up: virtual environment, pinned requirements, Detectron2, this package.
#
#     tools/setup.sh [VENV [PYTHON]]        `make setup` runs this
#
# A second run finds the stamp and returns at once; an interrupted one continues where pip left
# off. Whatever is missing ends in one sentence, below what pip said, and exit code 1.
set -eu
unset CDPATH # cd would look there first
cd "$(dirname "$0")/.."
venv=${1:-.venv}
python=${2:-python3}
inside=$venv/bin/python
stamp=$venv/metaalign-setup.txt
again="then run the same command again: it continues"

fail() {
    echo "error: $*" >&2
    exit 1
}
pip() {
    PIP_NO_INPUT=1 PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
        "$inside" -m pip "$@" </dev/null
}
trap 'echo "interrupted: run the same command again to continue" >&2; exit 130' INT

# All that an installation depends on; its place too, as the package is a link to this folder.
wanted="$(pwd) $(cat requirements/*.txt setup.py tools/setup.sh tools/install_detectron2.py | cksum)"
found='import importlib.util, sys; sys.exit(importlib.util.find_spec("detectron2") is None)'
if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && "$inside" -c "$found" 2>/dev/null; then
    exit 0
fi

command -v "$python" >/dev/null ||
    fail "$python is not installed: install Python 3.10 to 3.14, or name it with PYTHON=..."
"$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))' ||
    fail "Python 3.10 to 3.14 is needed and this is $("$python" -V 2>&1): name another" \
        "interpreter with PYTHON=..., for example 'make setup PYTHON=python3.11'"
case ${METAALIGN_DETECTRON2:-auto} in
auto | upstream | wheel) ;;
*) fail "METAALIGN_DETECTRON2=$METAALIGN_DETECTRON2 is not one of auto, upstream, wheel" ;;
esac
if [ -e "$venv" ] && [ ! -f "$venv/pyvenv.cfg" ] && [ -n "$(ls -A "$venv")" ]; then
    fail "$venv exists and is no virtual environment: choose another with VENV=..."
fi

echo "Setting up $venv (once: about 3 minutes and 6 GB)"
# An environment without pip, as uv makes them, keeps what is in it.
"$inside" -m pip --version >/dev/null 2>&1 ||
    { "$inside" -m ensurepip && "$inside" -m pip --version; } >/dev/null 2>&1 ||
    "$python" -m venv --clear "$venv" ||
    fail "$python cannot make a virtual environment in $venv: run 'apt-get install python3-venv'," \
        "or choose a folder of your own with VENV=..., $again"
for names in "build" "base mini dev"; do
    set --
    for name in $names; do set -- "$@" -r "requirements/$name.txt"; done
    pip install -c requirements/constraints.txt "$@" ||
        fail "the requirements could not be installed; pip's last lines say why: check the" \
            "network (PIP_INDEX_URL=... names a mirror) and the disk (8 GB), $again"
done
"$inside" tools/install_detectron2.py || exit 1 # has said its sentence
pip install --no-build-isolation --use-pep517 --no-deps -e . ||
    fail "metaalign_det could not be installed; pip's last lines say why: fix it, $again"
pip check || fail "the packages in $venv disagree: remove $venv, $again"

echo "Checking that everything imports"
"$inside" -W ignore -c 'import torch, torchvision, cv2, matplotlib, pycocotools.mask, sklearn
import detectron2.engine, detectron2.model_zoo, metaalign_det.engine.trainer' ||
    fail "what was installed cannot be imported; the last line above says why: OpenCV wants" \
        "'apt-get install libgl1 libglib2.0-0', $again"
echo "$wanted" >"$stamp"
echo "Set up: $venv"
