"""Carry out the runs of a sweep as jobs of a Slurm cluster, through submitit.

What is in the queue is known by a file in each run's folder, so that the same command, or another
on the same folder, finds it again: a run that is queued or at work is not submitted twice.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..files import write_json
from .attempt import LOCK_FILE, LOG_FILE, last_error, lock_file
from .progress import Failure, Progress, report_failure, seconds_left, with_pretraining
from .runs import Run, collect_scores, last_iteration
from .slurm_job import SIGNAL_DELAY_SECONDS, TrainingJob
from .slurm_options import SlurmOptions

if TYPE_CHECKING:
    from submitit import AutoExecutor, Job

logger = logging.getLogger(__name__)

JOB_FILE = "job.json"
_FOLDER = "slurm"  # of submitit, below the sweep's
_REQUEUES = 1000  # a job that gets on is queued again as often as it needs


@dataclass
class SlurmSweep:
    """Submits what is missing of a list of runs, each a job, and waits for it.

    Args:
        runs: of :func:`~.plan.plan_runs`; what they start from is submitted before them.
        command: the training program, ``[python, tools/train_net.py]``, also on the nodes.
        folder: of the sweep, on a file system that the nodes share.
        options: of every job.
        jobs: most jobs at a time; None = as many as Slurm allows.
        threads: of each process.
        discard_checkpoints: remove a run's checkpoints once it has its result.
        wait: for the jobs; otherwise :meth:`execute` submits and returns.
        on_progress: called after every look at the jobs.
        poll_seconds: between two looks.
        cluster: of submitit: "slurm", or "local" for processes of this machine, in tests.
    """

    runs: Sequence[Run]
    command: Sequence[str]
    folder: Path
    options: SlurmOptions
    jobs: int | None = None
    threads: int = 1
    discard_checkpoints: bool = False
    wait: bool = True
    on_progress: Callable[[Progress], None] = lambda progress: None
    poll_seconds: float = 5.0
    cluster: str = "slurm"
    failures: list[Failure] = field(default_factory=list, init=False)

    def execute(self) -> list[Failure]:
        """Submit what is neither complete nor in the queue, and wait until all have ended.

        An exception, an interruption included, leaves the jobs in the queue; called again, it
        finds them there.

        Returns:
            the runs that failed; [] if not waited for.

        Raises:
            UserError: no job at a time or no thread, submitit or Slurm is missing or refuses.
        """
        if (self.jobs is not None and self.jobs < 1) or self.threads < 1:
            raise UserError(f"--jobs {self.jobs} --threads {self.threads}: both must be at least 1")
        self.failures.clear()
        self._total = len(with_pretraining(self.runs))
        self._queue: dict[Path, tuple[Run, Job]] = {}
        with self._alone():
            pending = [run for run in with_pretraining(self.runs) if not collect_scores(run)]
            starts = {run.pretrain.folder for run in self.runs if run.pretrain is not None}
            first = self._submit([run for run in pending if run.folder in starts])
            if first and self.cluster != "slurm":  # which alone knows what waits for what
                self._watch()
            self._submit([run for run in pending if run.folder not in starts], after=first)
        if not self.wait:
            return []
        try:
            self._watch()
        except BaseException:
            logger.warning(
                "%d jobs go on without this command: %s", len(self._queue), ", ".join(self._ids())
            )
            raise
        return self.failures

    def queued(self) -> int:
        """Runs that :meth:`execute` left in the queue or at work."""
        return len(self._queue)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Two sweeps that submit at once would submit the same runs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = lock_file(self.folder / LOCK_FILE, wait=True)
        try:
            yield
        finally:
            lock.close()

    def _submit(self, runs: Sequence[Run], after: Sequence[Job] = ()) -> list[Job]:
        """Jobs of these runs: those that are in the queue already, and one array of the others.

        Args:
            runs: without a result.
            after: jobs that have to end first.
        """
        new = []
        # All of them first, and then how they are: Slurm is asked once.
        known = [(run, self._job_of(run)) for run in runs]
        for run, job in known:
            if job is None or job.done():
                new.append(run)
            else:
                logger.info("%s: in the queue already, job %s", run, job.job_id)
                self._queue[run.folder] = run, job
        if new:
            executor = self._executor(after)
            try:
                with executor.batch():
                    jobs = [executor.submit(self._work(run)) for run in new]
            except Exception as error:  # whatever sbatch says
                said = str(error).strip().splitlines() or [type(error).__name__]
                raise UserError(f"Slurm took no job: {said[-1]}") from error
            for run, job in zip(new, jobs):
                run.folder.mkdir(parents=True, exist_ok=True)
                facts = {
                    "job": job.job_id,
                    "cluster": self.cluster,
                    "folder": str(job.paths.folder),
                }
                write_json(run.folder / JOB_FILE, facts)
                self._queue[run.folder] = run, job
            logger.info("submitted %d jobs: %s", len(jobs), ", ".join(j.job_id for j in jobs))
        return [self._queue[run.folder][1] for run in runs]

    def _work(self, run: Run) -> TrainingJob:
        command = list(self.command)
        if self.options.gpus > 1:
            # A free port for each run: several may share a node.
            command += ["--num-gpus", str(self.options.gpus), "--dist-url", "auto"]
        return TrainingJob(
            run,
            command,
            minutes=self.options.minutes,
            threads=self.threads,
            discard=self.discard_checkpoints,
        )

    def _executor(self, after: Sequence[Job]) -> AutoExecutor:
        try:
            executor = _submitit().AutoExecutor(
                folder=self.folder.resolve() / _FOLDER,
                cluster=self.cluster,
                slurm_max_num_timeout=_REQUEUES,
            )
        except RuntimeError as error:
            raise UserError(f"--launcher slurm: {error}") from error
        dependency = ":".join(["afterany", *(job.job_id for job in after)]) if after else None
        cpus = self.options.sbatch.get("cpus-per-task")
        # One limit for all: what is in the queue already counts, what has to end first does not.
        others = len(self._queue) - len(after)
        executor.update_parameters(
            name="metaalign-det",
            timeout_min=self.options.minutes,
            gpus_per_node=self.options.gpus_per_node,
            stderr_to_stdout=True,
            slurm_signal_delay_s=SIGNAL_DELAY_SECONDS,
            slurm_array_parallelism=max(1, (self.jobs or self._total) - others),
            slurm_dependency=dependency,
            slurm_additional_parameters=self.options.sbatch,
            # srun does not take it from sbatch any more (Slurm 22.05 and later).
            slurm_srun_args=[f"--cpus-per-task={cpus}"] if cpus else None,
        )
        return executor

    def _job_of(self, run: Run) -> Job | None:
        """The job that an earlier call submitted for a run; None if there is none."""
        try:
            facts = json.loads((run.folder / JOB_FILE).read_text(encoding="utf-8"))
            number, folder = str(facts["job"]), str(facts["folder"])
            cluster = facts["cluster"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if cluster != self.cluster:
            return None
        submitit = _submitit()
        kind = submitit.SlurmJob if cluster == "slurm" else submitit.LocalJob
        return kind(folder=folder, job_id=number)

    def _watch(self) -> None:
        """Until all that is in the queue has ended."""
        started = time.monotonic()
        first = {folder: last_iteration(folder) for folder in self._queue}
        most = {folder: run.max_iter for folder, (run, _) in self._queue.items()}
        while self._queue:
            for run, job in list(self._queue.values()):
                if not job.done():
                    continue
                del self._queue[run.folder]
                if collect_scores(run):
                    logger.info("done: %s", run)
                else:
                    self.failures.append(report_failure(run, _why(run, job)))
            reached = {
                folder: last_iteration(folder) if folder in self._queue else most[folder]
                for folder in first
            }
            done = sum(max(0, reached[folder] - first[folder]) for folder in first)
            left = sum(max(0, most[f] - reached[f]) for f in self._queue)
            self.on_progress(self._progress(seconds_left(time.monotonic() - started, done, left)))
            if self._queue:
                time.sleep(self.poll_seconds)

    def _progress(self, left: float | None) -> Progress:
        at_work = [run for run, job in self._queue.values() if job.state.upper() == "RUNNING"]
        return Progress(
            self._total - len(self._queue) - len(self.failures),
            len(self.failures),
            self._total,
            tuple((run, last_iteration(run.folder)) for run in at_work),
            0,
            left,
            queued=len(self._queue) - len(at_work),
        )

    def _ids(self) -> list[str]:
        """Of arrays once: ``scancel`` takes them."""
        return list(dict.fromkeys(job.job_id.partition("_")[0] for _, job in self._queue.values()))


def _why(run: Run, job: Job) -> str:
    """Why a job that has ended left no result, in one line."""
    if not job.paths.result_pickle.exists():
        said = last_error(run.folder / LOG_FILE)
        return f"Slurm says {job.state} of job {job.job_id}; last words: {said}"
    lines = str(job.exception() or "").splitlines()
    errors = [x.partition("UserError: ")[2] for x in lines if "UserError: " in x]
    return (errors or [x for x in lines if x.strip(" -")] or ["it ended without a result"])[-1]


def _submitit() -> Any:
    try:
        import submitit
    except ImportError as error:
        raise UserError(
            "--launcher slurm needs the package submitit: pip install 'metaalign_det[slurm]'"
        ) from error
    return submitit
