from __future__ import annotations

import json

from benchmarks.projection_weights import main


def test_weights_are_averaged_over_each_run_and_then_over_runs(tmp_path, capsys):
    for run, values in (("a", [1.0, 3.0]), ("b", [5.0])):
        (tmp_path / run).mkdir()
        rows = [{"iteration": i, "projection/weight_task/all": v} for i, v in enumerate(values)]
        (tmp_path / run / "metrics.json").write_text("".join(json.dumps(r) + "\n" for r in rows))
    runs = [str(tmp_path / name) for name in ("a", "b")]
    assert main(runs) == 0
    assert capsys.readouterr().out == "weight task/all  runs 2  mean 3.5  least 1.0  most 5.0\n"
    assert main([*runs, str(tmp_path / "c")]) == 2
    assert "c: no projection/weight_* in its metrics.json" in capsys.readouterr().err
