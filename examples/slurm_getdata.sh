#!/bin/bash
# Gather the frames of a scan with getdata.py as a batch job. All arguments are those of getdata.py:
#     sbatch examples/slurm_getdata.sh /data/visitor/ma1234/id06/scan grain_ - - 512,512 300,300 OUT array
#     MPIRUN="srun --mpi=pmix" sbatch examples/slurm_getdata.sh ...
#SBATCH --job-name=getdata
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=1
#SBATCH --mem-per-cpu=1G
#SBATCH --time=01:00:00
#SBATCH --output=getdata-%j.log

set -euo pipefail
[ $# -ge 8 ] || { echo "usage: sbatch slurm_getdata.sh <the arguments of getdata.py>" >&2; exit 2; }
RECON3D=${RECON3D:-$HOME/recon3d}         # the clone of this repository
VENV=${VENV:-$RECON3D/.venv}              # an environment with mpi4py built for the site's MPI
MPI_MODULE=${MPI_MODULE-openmpi}          # empty: no module
MPIRUN=${MPIRUN:-mpirun}                  # that of the module; or srun --mpi=pmix (srun --mpi=list: what there is)

if [ -n "$MPI_MODULE" ]; then module load "$MPI_MODULE"; fi
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

# shellcheck disable=SC2086 # MPIRUN may hold options
exec $MPIRUN -n "${SLURM_NTASKS:?run it with sbatch}" "$VENV/bin/python" "$RECON3D/getdata.py" "$@"
