"""`run_search.py` as it is, on spaces whose models score themselves."""

import os
import sys

from benchmarks.peers.job import FOLDER_VARIABLE, Job
from spaces import SPACES

# At import: a spawned worker imports this module too, before it loads the space.
SPACES.update({name: f"benchmarks.peers.scored_spaces:{name.upper()}" for name in ("cnn", "mlp")})


def search(job: Job) -> int:
    """Search until the process is ended."""
    from run_search import main

    flags = ["--trials", "100000", "--workers", "1", "--seed", str(job.seed), "--quiet"]
    flags += ["--space", job.space, "--epochs", str(job.epochs), "--precision", job.precision]
    flags += ["--train-size", str(job.train_size), "--val-size", str(job.val_size // 2)]
    flags += ["--data", os.environ[FOLDER_VARIABLE], "--mirror", "--results-dir", os.getcwd()]
    return main(flags if job.first else [*flags, "--no-portfolio"])


if __name__ == "__main__":
    sys.exit(search(Job.from_arguments()))
