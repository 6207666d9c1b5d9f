"""Copies and look-alikes, on pictures that were written to disk."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from metaalign_det.data.doctor.checks.duplicates import similar
from metaalign_det.data.doctor.findings import Severity
from metaalign_det.data.doctor.image_facts import ImageFacts, read_facts
from tests.data.doctor.inspections import inspect, unlabelled


def picture(number, size=(96, 64)):
    """Smooth blotches, different for every number."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def folder(tmp_path):
    for number in range(4):
        picture(number).save(tmp_path / f"{number}.png")
    (tmp_path / "copy of 0.png").write_bytes((tmp_path / "0.png").read_bytes())
    picture(1).resize((70, 50)).save(tmp_path / "small 1.jpg", quality=70)
    Image.new("RGB", (50, 40), "white").save(tmp_path / "white.png")
    Image.new("RGB", (60, 40), "white").save(tmp_path / "white too.png")
    return tmp_path


def of(folder, *names, **kwargs):
    return unlabelled(*(str(folder / name) for name in names), **kwargs)


def facts_of(*subjects):
    return read_facts([d["file_name"] for s in subjects for d in s.dicts], jobs=1, progress=False)


def test_within_a_data_set(folder):
    subject = of(folder, *(p.name for p in sorted(folder.iterdir())))
    facts = facts_of(subject)
    (copies,) = inspect(subject, facts=facts, only="copies")
    (alike,) = inspect(subject, facts=facts, only="look_alikes")
    assert copies.severity == Severity.WARNING and alike.severity == Severity.NOTE
    assert copies.examples == (f"{folder / '0.png'} = {folder / 'copy of 0.png'}",)
    assert alike.examples == (f"{folder / '1.png'} = {folder / 'small 1.jpg'}",)
    (blank,) = inspect(subject, facts=facts, only="blank")
    assert blank.count == 2


@pytest.mark.parametrize(
    "roles, exact, alike",
    [
        (("source 0", "target"), Severity.ERROR, Severity.WARNING),
        (("target", "test"), Severity.WARNING, Severity.WARNING),
        (("source 0", "source 1"), Severity.NOTE, Severity.NOTE),
        (("data", "data"), Severity.WARNING, Severity.WARNING),
    ],
)
def test_across_data_sets_it_depends_on_their_roles(folder, roles, exact, alike):
    subjects = [
        of(folder, "0.png", "1.png", "2.png", role=roles[0], name="one"),
        of(folder, "copy of 0.png", "small 1.jpg", "3.png", role=roles[1], name="two"),
    ]
    facts = facts_of(*subjects)
    for check, severity in (("copies", exact), ("look_alikes", alike)):
        (finding,) = inspect(*subjects, facts=facts, only=check)
        assert (finding.severity, finding.data, finding.count) == (severity, "one, two", 1)


def test_one_file_in_two_data_sets_is_no_copy(folder):
    subjects = [of(folder, "0.png", role=role) for role in ("target", "test")]
    assert not inspect(*subjects, facts=facts_of(*subjects), only="copies")


def test_different_pictures_are_not_alike_in_thousands(tmp_path):
    facts = []
    for number in range(300):
        file = tmp_path / f"{number}.png"
        picture(number, (40, 32)).save(file, compress_level=0)
        facts.append(str(file))
    assert similar(list(read_facts(facts, jobs=1, progress=False).values())) == []


def frames(count, exact=False):
    """Facts of frames of one camera, or of one file many times."""
    thumbnail = picture(0, (32, 32)).convert("L").tobytes()
    content = b"same" if exact else b""
    return [
        ImageFacts(f"{n}.png", None, (32, 32), content or bytes([n]), 7, thumbnail)
        for n in range(count)
    ]


@pytest.mark.parametrize("check", ["copies", "look_alikes"])
def test_frames_of_one_camera_are_not_all_paired_with_each_other(check):
    facts = {f.file: f for f in frames(100, exact=check == "copies")}
    files = list(facts)
    source = unlabelled(*files[:80], role="source 0", name="one")
    target = unlabelled(*files[80:], role="target", name="two")
    within, across, last = inspect(source, target, facts=facts, only=check)[:3]
    found = sorted((within, across, last), key=lambda f: f.data)
    assert [f.data for f in found] == ["one", "one, two", "two"]
    assert [f.count for f in found] == [60 * 20 + 190, 80 * 20, 190]  # those before the last
    assert found[0].message.startswith("at least 1390 pair(s)")
    assert found[2].message.startswith("190 pair(s)")


def test_few_pictures_are_all_paired():
    assert len(similar(frames(20))) == 190
