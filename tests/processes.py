"""Two processes with gloo, for tests."""

from __future__ import annotations

import datetime
import os
import traceback

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def _worker(rank, world, store, timeout, function, args, queue):
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    try:
        dist.init_process_group(
            "gloo",
            init_method=f"file://{store}",
            rank=rank,
            world_size=world,
            timeout=datetime.timedelta(seconds=timeout),
        )
        queue.put((rank, "ok", function(rank, *args)))
    except BaseException as error:  # noqa: BLE001  (reported to the parent)
        queue.put((rank, "error", f"{type(error).__name__}: {error}\n{traceback.format_exc()}"))
        os._exit(1)
    dist.destroy_process_group()


def run(function, *args, world=2, store, timeout=60):
    """``function(rank, *args)`` in each of ``world`` processes.

    Returns:
        list of (rank, "ok", result) or (rank, "error", text), by rank. Results must pickle.
    """
    context = mp.get_context("spawn")
    queue = context.SimpleQueue()
    workers = [
        context.Process(target=_worker, args=(r, world, store, timeout, function, args, queue))
        for r in range(world)
    ]
    for w in workers:
        w.start()
    results = [queue.get() for _ in workers]
    for w in workers:
        w.join()
    return sorted(results)
