"""A Slurm of one machine: sbatch, srun, sacct, scontrol and scancel as far as submitit needs them.

Each command is a link to this file. Every submission is a process that runs the elements of its
array, as many at a time as it says, after the jobs that it depends on have ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

BIN = Path(__file__).parent
STATE = BIN / "state"


def write(job: str, state: str) -> None:
    partial = STATE / f".{job}.{os.getpid()}"
    partial.write_text(state)
    partial.rename(STATE / job)


def read(job: str) -> str:
    return (STATE / job).read_text()


def elements(array: str) -> list[str]:
    """The jobs of a number: itself, or the elements of its array."""
    names = [p.name for p in STATE.iterdir() if not p.name.startswith(".")]
    return sorted(n for n in names if n == array or n.startswith(f"{array}_"))


def sbatch(script: str) -> None:
    text = Path(script).read_text()
    given = dict(re.findall(r"^#SBATCH --([a-z-]+)=(.*)$", text, flags=re.MULTILINE))
    with (BIN / "submissions.jsonl").open("a") as file:
        file.write(json.dumps(given) + "\n")
    if given.get("partition") == "none":
        sys.exit("sbatch: error: invalid partition specified: none")
    number = str(1000 + len((BIN / "submissions.jsonl").read_text().splitlines()))
    array = re.fullmatch(r"'?0-(\d+)%(\d+)'?", given.get("array", ""))
    jobs = [f"{number}_{i}" for i in range(int(array[1]) + 1)] if array else [number]
    for job in jobs:
        write(job, "PENDING")
    limit = array[2] if array else "1"
    supervisor = [sys.executable, str(BIN / "supervise"), script, limit, *jobs]
    log = (BIN / "supervise.log").open("ab")
    after = given.get("dependency", "").strip("'").removeprefix("afterany:")
    subprocess.Popen(
        supervisor, stdout=log, stderr=log, env={**os.environ, "AFTER": after}, cwd=os.getcwd(),
        start_new_session=True,
    )  # fmt: skip
    print(f"Submitted batch job {number}")


def supervise(script: str, limit: str, *jobs: str) -> None:
    ended = ("COMPLETED", "FAILED", "CANCELLED")
    for job in filter(None, os.environ.pop("AFTER").split(":")):
        while not all(read(name) in ended for name in elements(job)):
            time.sleep(0.05)
    running: dict[str, subprocess.Popen] = {}
    while any(read(job) not in ended for job in jobs):
        for job, process in list(running.items()):
            if process.poll() is not None:
                del running[job]
                if read(job) == "REQUEUED":
                    write(job, "PENDING")
                elif read(job) != "CANCELLED":
                    write(job, "FAILED" if process.returncode else "COMPLETED")
        for job in jobs:
            if read(job) == "PENDING" and len(running) < int(limit) and not (BIN / "full").exists():
                number, _, element = job.partition("_")
                env = {**os.environ, "SLURM_JOB_ID": number, "SLURM_NTASKS": "1"}
                env |= {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
                if element:
                    env |= {"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": element}
                running[job] = subprocess.Popen(["bash", script], env=env, start_new_session=True)
                write(job, "RUNNING")
                (BIN / f"pid-{job}").write_text(str(running[job].pid))
        with (BIN / "at_once").open("a") as file:
            file.write(f"{len(running)}\n")
        time.sleep(0.05)


def srun(*args: str) -> None:
    """Without its options, which end where the interpreter begins."""
    first = next(i for i, a in enumerate(args) if "python" in Path(a).name)
    output = Path(args[args.index("--output") + 1].replace("%t", "0").replace(
        "%A_%a", os.environ.get("SLURM_ARRAY_JOB_ID", "") + "_" +
        os.environ.get("SLURM_ARRAY_TASK_ID", "")
    ).replace("%j", os.environ["SLURM_JOB_ID"]))  # fmt: skip
    with output.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.execv(args[first], args[first:])


def sacct(*args: str) -> None:
    print("JobID|State|NodeList")
    for flag, number in zip(args, args[1:]):
        if flag == "-j":
            for job in elements(number):
                print(f"{job}|{read(job)}|here")


def scontrol(command: str, job: str) -> None:
    assert command == "requeue"
    write(job, "REQUEUED")


def scancel(job: str, *options: str) -> None:
    """With ``--signal NAME``: to the task, whose parent is the shell of the script."""
    pid = int((BIN / f"pid-{job}").read_text())
    if options:
        name = options[1].removeprefix("SIG")
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            os.kill(int(child), getattr(signal, f"SIG{name}"))
        return
    write(job, "CANCELLED")
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    globals()[Path(sys.argv[0]).name](*sys.argv[1:])
