#!/usr/bin/env bash
# A search on all nodes of a Slurm job: sbatch deploy/slurm.sh --trials 200
# from the project's folder, with .venv in it, where all nodes see both.
#SBATCH --job-name=fashion-search
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=04:00:00
# Ray stops all of a user's Ray on a node, that of another job too.
#SBATCH --exclusive
set -euo pipefail
export PATH="$PWD/.venv/bin:$PATH"

# The token protects this job's Ray cluster; mktemp makes a file that no other user can read.
RAY_AUTH_TOKEN_PATH=$(mktemp "$PWD/.ray-token-XXXXXX")
trap 'rm -f "$RAY_AUTH_TOKEN_PATH"' EXIT
export RAY_AUTH_TOKEN_PATH RAY_AUTH_MODE=token RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300
python -c 'import secrets; print(secrets.token_hex(32))' >"$RAY_AUTH_TOKEN_PATH"

# Ray starts on every node; the command runs on the first one. Slurm's signal at the time limit would
# end Ray as well, so the search ends by itself 5 minutes before; the same sbatch continues it.
end=$(date -d "$(squeue --noheader --jobs "$SLURM_JOB_ID" --format %e)" +%s)
srun --kill-on-bad-exit=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" ray symmetric-run \
    --address "$(hostname --ip-address):6379" --min-nodes "$SLURM_NNODES" --num-cpus "$SLURM_CPUS_PER_TASK" -- \
    python run_search.py --cluster auto --timeout "$((end - $(date +%s) - 300))" "$@"
