"""What the report says of discriminators and of coordination."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from metaalign_det.reports.run_report import training
from metaalign_det.reports.run_report.groups import Group


@pytest.fixture
def charts(monkeypatch):
    """Title -> keyword arguments of the charts that are drawn."""
    drawn = []
    monkeypatch.setattr(training, "line_chart", lambda *a, **k: drawn.append((a[0], k)))
    return drawn


def comparison(**settings):
    """Settings of one run each, whose scalars stay at the values given."""
    steps = np.arange(0, 100, 20)
    groups = [
        Group(
            label,
            {0: SimpleNamespace(series={k: (steps, np.full(5, v)) for k, v in scalars.items()})},
        )
        for label, scalars in settings.items()
    ]
    return SimpleNamespace(groups=groups, color=groups.index)


def test_settings_that_tell_other_domains_apart_have_their_own_level_of_chance(charts):
    section = training.discriminators_section(
        comparison(
            two={"da/acc_source": 0.6, "da/acc_target": 0.8},
            three={f"da/acc_domain{i}": 0.5 for i in range(3)},
            also={"da/acc_source": 0.5, "da/acc_target": 0.5, "da/local_acc_source": 0.9},
        )
    )
    assert [(title, k["reference"][0]) for title, k in charts] == [
        ("Discriminator", 0.5),
        ("Discriminator", pytest.approx(1 / 3)),
        ("Discriminator local", 0.5),
    ]
    assert section.facts["two"] == {"domain": pytest.approx(0.7)}
    assert section.facts["also"] == {"domain": 0.5, "local": 0.9}


def test_how_much_of_each_gradient_a_projection_takes_is_drawn(charts):
    scalars = {
        "projection/cosine/all": -0.1,
        "projection/weight_alignment/all": 3.5,
        "projection/weight_task/all": 1.0,
    }
    section = training.coordination_section(comparison(cagrad=scalars))
    assert section.facts["cagrad"] == scalars
    assert [(title, k["reference"]) for title, k in charts] == [
        ("Cosine of task and alignment gradient, cagrad", (0.0, "orthogonal")),
        ("Weight of alignment's gradient, cagrad", (1.0, "joint training")),
        ("Weight of the task's gradient, cagrad", (1.0, "joint training")),
    ]
