"""Draw every picture of docs/gallery.md anew and write the page, numbers in its sentences included.

python -m docs.make_gallery output/demo output/demo_classification

Reads the runs of both demonstrations (`metaalign-det demo detection`, `metaalign-det demo
classification`; a folder that is missing leaves its pictures out), calls the commands that the page
shows, and writes docs/gallery.md and docs/pictures/gallery/.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from metaalign_det.cli import explain
from metaalign_det.errors import UserError
from metaalign_det.explain.runs import open_runs

DOCS = Path(__file__).parent
PICTURES = DOCS / "pictures" / "gallery"
#: Folder of a method below <demo>/runs -> what the pictures call it.
LABELS = {
    "pretraining": "source detector",
    "source": "source only",
    "source_adaptive_bn": "the same with adaptive BatchNorm",
    "swda": "SW-DA",
    "swda_meta": "SW-DA + MetaAlign",
    "swda_teacher": "SW-DA + mean teacher",
    "dann": "DANN",
    "dann_meta": "DANN + MetaAlign",
}


@dataclass(frozen=True)
class Picture:
    """One picture of the page.

    Args:
        name: file name in docs/pictures/gallery.
        made: file name that the command gives it.
        title: heading.
        sentences: from the command's JSON, what to see and what it says.
    """

    name: str
    made: str
    title: str
    sentences: Callable[[dict], str]


@dataclass(frozen=True)
class Section:
    """One command and the pictures that the page takes from it."""

    command: str
    methods: tuple[str, ...]
    options: tuple[str, ...]
    pictures: tuple[Picture, ...]


def interval(found: dict, digits: int = 2) -> str:
    """``0.63 (0.59 to 0.66)``."""
    value = found.get("value", found.get("mean"))
    return f"{value:.{digits}f} ({found['low']:.{digits}f} to {found['high']:.{digits}f})"


def verdict(found: dict, more: str, less: str) -> str:
    """``more`` or ``less`` if the interval leaves 0 out, else that there is no difference."""
    if found["low"] > 0:
        return more
    return less if found["high"] < 0 else "not told apart from it by this many images"


def says_attention(data: dict) -> str:
    runs, names = data["runs"], list(data["runs"])
    parts = [
        f"{run} {interval(runs[run]['global']['layercam']['focus'])}"
        for run in names
        if "global" in runs[run]
    ]
    return (
        "Bright is what an objective rests on (LayerCAM: evidence for the detections of the task, "
        "and for the true domain of a discriminator); boxes are ground truth, and the number in a "
        "corner is the attention inside boxes over their area, 1 being chance. Averaged over "
        f"{data['settings']['images']} images the global discriminator's is {', '.join(parts)}: "
        "below 1 it tells the domains by their backgrounds, as the paper says of plain alignment. "
        "Single maps are coarse (a cell of the deepest one is 16 pixels, and the global "
        "discriminator's strides leave a lattice) and easy to over-read."
    )


def says_focus(data: dict) -> str:
    run, differences = next((r, d) for r, d in data["minus_first"].items() if d)
    parts = [
        f"{name} {interval(found['layercam'])}, "
        + verdict(found["layercam"], "more on objects", "less on objects")
        for name, found in differences.items()
        if name != "task"
    ]
    return (
        "Dots are the mean with its 95 % interval over images, ticks the same maps held against "
        "*other* images' objects, which is what attention to the middle of a picture scores. "
        f"“MetaAlign aligns the foreground” asks for discriminators of {run} further right than "
        f"those of the first run; the differences here are {'; '.join(parts)}. The interval is "
        "over images, not trainings; over five seeds, trained for 400 steps, the differences are "
        "within their noise ([results-mini.md](results-mini.md))."
    )


def says_image_pca(data: dict) -> str:
    runs = data["levels"]["image"]
    accuracy = ", ".join(
        f"{r} {100 * m['domain_accuracy']['value']:.0f} %" for r, m in runs.items()
    )
    return (
        "Each point is an image, and all runs share the axes: where the two colors mix, the "
        "domains lie together along the two directions of largest spread. They may still be apart "
        f"in others: a linear classifier tells them apart with {accuracy} (chance 50 %)."
    )


def says_object_tsne(data: dict) -> str:
    runs = data["levels"]["object"]
    nearest = ", ".join(f"{r} {100 * m['nearest_class']['value']:.0f} %" for r, m in runs.items())
    chance = next(iter(runs.values()))["nearest_class"]["chance"]
    return (
        "Each point is a ground-truth object, colored by domain above and by class below. The "
        "nearest source object of a target object is of its class in "
        f"{nearest} of cases (chance {100 * chance:.0f} %); distances between clusters of a t-SNE "
        "mean nothing, and neither do their sizes."
    )


def says_separation(data: dict) -> str:
    runs = data["levels"]["image"]
    mmd = ", ".join(f"{r} {m['mmd']['value']:.2f}" for r, m in runs.items())
    chance = max(m["mmd"]["chance_high"] for m in runs.values())
    return (
        "Every number stands beside the gray band that permuted labels give; domain numbers inside "
        "their band would mean aligned, class numbers inside theirs would mean no classes. "
        f"MMD² of image features is {mmd}, chance at most {chance:.2f}."
    )


def says_gradients(data: dict) -> str:
    last = {c["run"]: c for c in data["checkpoints"]}
    cosines = ", ".join(
        f"{r} {interval(c['at_theta']['backbone']['cosine'])}" for r, c in last.items()
    )
    two = [c["at_theta"]["backbone"]["cosine_task_batches"]["mean"] for c in last.values()]
    there = [
        f"{r} {ahead['cosine']['mean']:.2f} at θ − 0.1 g and {back['cosine']['mean']:.2f} at "
        f"θ + 0.1 g, v having changed by {100 * ahead['change']['mean']:.0f} % of its length"
        for r, c in last.items()
        for ahead, back in [(c["along"]["0.1"]["backbone"], c["along"]["-0.1"]["backbone"])]
    ]
    return (
        f"Over the whole backbone the cosine of g (alignment) and v (task) is {cosines}; for "
        "scale, the task's gradients on two batches have "
        f"{', '.join(f'{x:.2f}' for x in two)}, so that noise alone hides much. Along the step "
        f"that alignment takes the cosine becomes {'; '.join(there)}."
    )


def says_training(data: dict) -> str:
    return (
        f"The same quantities at every checkpoint of both runs, {data['settings']['batches']} "
        "batches each; bands are 95 % intervals. Where they overlap, SW-DA and MetaAlign are not "
        "told apart by these batches, and the norms say which half of ∇⟨g, v⟩ is the larger."
    )


def says_digits(data: dict) -> str:
    parts = [
        f"{run} {found['discriminator']['layercam']['overlap_with_task']:.2f} "
        f"({found['discriminator']['layercam']['overlap_with_task_elsewhere']:.2f} with the task's "
        "map of another image)"
        for run, found in data["runs"].items()
        if "discriminator" in found
    ]
    return (
        "A classifier has no boxes, so its number is how much of the discriminator's attention "
        f"falls where the task's does: {', '.join(parts)}. The digits lie in the middle of every "
        "picture, so that even the map of another image overlaps much."
    )


SECTIONS = (
    Section(
        "attention",
        ("swda", "swda_meta"),
        ("--objectives", "task", "global", "local", "--show", "6"),
        (
            Picture("attention.jpg", "attention.jpg", "Where task and alignment look",
                    says_attention),
            Picture("attention_focus.png", "attention_focus.png",
                    "The same as a number: does alignment look at objects?", says_focus),
        ),
    ),
    Section(
        "features",
        ("source", "swda", "swda_meta", "swda_teacher"),
        (),
        (
            Picture("image_pca.png", "image_pca.png", "Do the domains lie together?",
                    says_image_pca),
            Picture("object_tsne.png", "object_tsne.png", "Do the classes?", says_object_tsne),
            Picture("separation.png", "separation.png", "The same as numbers, beside chance",
                    says_separation),
        ),
    ),
    Section(
        "gradients",
        ("swda", "swda_meta"),
        ("--over-training", "--batches", "6"),
        (
            Picture("gradients.png", "gradients.png", "Do the gradients agree?", says_gradients),
            Picture("gradients_training.png", "gradients_training.png", "And over training?",
                    says_training),
        ),
    ),
    Section(
        "attention",
        ("dann", "dann_meta"),
        ("--method", "layercam", "--show", "8"),
        (Picture("digits_attention.jpg", "attention.jpg", "A classifier", says_digits),),
    ),
)  # fmt: skip


def make(sections: Sequence[Section], demos: Sequence[Path], reuse: Path | None = None) -> str:
    """Run the commands, keep their pictures, and return the page.

    Args:
        sections: in the order of the page.
        demos: folders of demonstrations; a section is of the first that has its methods.
        reuse: a folder of an earlier call with ``--keep``: a command whose numbers are there, and
            newer than its runs, is not run again.
    """
    PICTURES.mkdir(parents=True, exist_ok=True)
    parts = [_HEAD]
    described: set[Path] = set()
    for number, section in enumerate(sections):
        demo = next((d for d in demos if (d / "runs" / section.methods[0]).is_dir()), None)
        if demo is None:
            print(f"left out: no run of {section.methods[0]} in {', '.join(map(str, demos))}")
            continue
        if demo not in described:
            parts.append(_runs_of(demo))
            described.add(demo)
        given = [f"{LABELS[m]}={demo / 'runs' / m}" for m in section.methods]
        arguments = [section.command, *given, *section.options]
        with tempfile.TemporaryDirectory() as temporary:
            folder = (reuse or Path(temporary)) / f"{number}_{section.command}"
            numbers = folder / f"{section.command}.json"
            if not _is_newer(numbers, [demo / "runs" / m for m in section.methods]):
                _explain([*arguments, "--output", str(folder), "--overwrite"])
            data = json.loads(numbers.read_text(encoding="utf-8"))
            command = shlex.join(["metaalign-det", "explain", *arguments])
            for picture in section.pictures:
                shutil.copyfile(folder / picture.made, PICTURES / picture.name)
                parts += [
                    f"## {picture.title}",
                    f"![{picture.title}](pictures/gallery/{picture.name})",
                    _filled(picture.sentences(data)),
                    f"```\n{command}\n```",
                ]
    return "\n\n".join(parts) + "\n"


def _is_newer(file: Path, runs: Sequence[Path]) -> bool:
    saved = [path.stat().st_mtime for run in runs for path in run.rglob("*.pth")]
    return file.is_file() and file.stat().st_mtime > max(saved, default=0.0)


def _explain(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser()
    explain.add_arguments(parser)
    explain.run(parser.parse_args(arguments))


def _runs_of(demo: Path) -> str:
    runs = open_runs([str(demo)])
    steps = ", ".join(f"{LABELS.get(r.label, r.label)} {r.cfg.SOLVER.MAX_ITER}" for r in runs)
    text = f"Runs of `{demo}` (training steps): {steps}; seed {runs[0].cfg.SEED}."
    return _filled(text)


def _filled(text: str) -> str:
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)


_HEAD = """\
# Gallery

Every picture with the command that made it, written by `python -m docs.make_gallery output/demo
output/demo_classification`. The runs are short ones of the miniatures with one seed: they show how
to read the pictures and which way something points, not what a method gains. `make demo` and
`make demo-classification` make such runs. Each command also writes its numbers as JSON and
Markdown, and `metaalign-det explain COMMAND --help` says what it reads."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("demos", nargs="+", type=Path, metavar="FOLDER", help="of a demonstration")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep what the commands write "
                        "here, and take from it what is there")  # fmt: skip
    args = parser.parse_args(argv)
    try:
        page = make(SECTIONS, args.demos, args.keep)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    (DOCS / "gallery.md").write_text(page, encoding="utf-8")
    print(f"written: {DOCS / 'gallery.md'}, {PICTURES}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
