#!/bin/bash
# Reconstruct a grain with recon3d.py as a batch job:
#     sbatch examples/slurm_recon3d.sh my_init.txt
# Ranks on several nodes all read the array, so it must lie on a shared file system; nothing is copied.
#SBATCH --job-name=recon3d
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=16
#SBATCH --cpus-per-task=1
#SBATCH --mem-per-cpu=2G
#SBATCH --time=00:30:00
#SBATCH --output=recon3d-%j.log

set -euo pipefail
init=${1:?"usage: sbatch slurm_recon3d.sh INITFILE"}
RECON3D=${RECON3D:-$HOME/recon3d}         # the clone of this repository
VENV=${VENV:-$RECON3D/.venv}              # an environment with mpi4py built for the site's MPI
MPI_MODULE=${MPI_MODULE-openmpi}          # empty: no module
MPIRUN=${MPIRUN:-mpirun}                  # or srun --mpi=pmix
SCRATCH=${SCRATCH:-/tmp_14_days/$USER}    # where compiled kernels are kept, shared by the nodes

if [ -n "$MPI_MODULE" ]; then module load "$MPI_MODULE"; fi
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
export NUMBA_CACHE_DIR=${NUMBA_CACHE_DIR:-$SCRATCH/recon3d-kernels}
mkdir -p "$NUMBA_CACHE_DIR"

# shellcheck disable=SC2086 # MPIRUN may hold options
exec $MPIRUN -n "${SLURM_NTASKS:?run it with sbatch}" "$VENV/bin/python" "$RECON3D/recon3d.py" "$init"
