#!/bin/bash
# Reconstruct a grain with recon3d.py as a batch job, on the cores of one node:
#     sbatch examples/slurm_recon3d.sh my_init.txt
#     MPIRUN="srun --mpi=pmix" sbatch examples/slurm_recon3d.sh my_init.txt
# The scan of the white paper (11 x 11 tilts, 226 omegas, 300 x 300 pixels: 4.9 GB; 101^3 voxels) on 16 ranks: method
# mlem needs 12 GB and is expected to take less than a minute, backprojection 5 GB and some seconds; more ranks gain
# little (docs/scaling.md, also for larger scans). The time and memory below leave room for a scan some times as large.
# Ranks on several nodes all read the array, so it must lie on a shared file system; nothing is copied.
#SBATCH --job-name=recon3d
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=16
#SBATCH --cpus-per-task=1
#SBATCH --mem-per-cpu=4G
#SBATCH --time=00:30:00
#SBATCH --output=recon3d-%j.log

set -euo pipefail
init=${1:?"usage: sbatch slurm_recon3d.sh INITFILE"}
RECON3D=${RECON3D:-$HOME/recon3d}         # the clone of this repository
VENV=${VENV:-$RECON3D/.venv}              # an environment with mpi4py built for the site's MPI
MPI_MODULE=${MPI_MODULE-openmpi}          # empty: no module
MPIRUN=${MPIRUN:-mpirun}                  # that of the module; or srun --mpi=pmix (srun --mpi=list: what there is)
SCRATCH=${SCRATCH:-/tmp_14_days/$USER}    # where compiled kernels are kept, shared by the nodes

if [ -n "$MPI_MODULE" ]; then module load "$MPI_MODULE"; fi
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
export NUMBA_CACHE_DIR=${NUMBA_CACHE_DIR:-$SCRATCH/recon3d-kernels}
mkdir -p "$NUMBA_CACHE_DIR"

# shellcheck disable=SC2086 # MPIRUN may hold options
exec $MPIRUN -n "${SLURM_NTASKS:?run it with sbatch}" "$VENV/bin/python" "$RECON3D/recon3d.py" "$init"
