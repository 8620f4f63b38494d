#!/bin/bash
# Trains in a SLURM job that saves and requeues itself before its time is up, and after a node has failed:
#   sbatch scripts/slurm.sh --config configs/digits_resnet.yaml --config configs/trainer/slurm.yaml
#SBATCH --job-name=kindling
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4      # one for each GPU
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=SIGUSR1@120     # two minutes before its time is up
#SBATCH --output=slurm-%j.out
#SBATCH --open-mode=append

set -euo pipefail
cd "$SLURM_SUBMIT_DIR"
source .venv/bin/activate
export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK
# srun has to be given its CPUs here: since SLURM 22.05 it does not take them from sbatch
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" --kill-on-bad-exit=1 kindling fit "$@" --run-id "job_$SLURM_JOB_ID"
