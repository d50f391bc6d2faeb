"""Install Recon3D: the folder lib becomes the package recon3d_lib, with its commands."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "([^"]+)"', (HERE / "lib" / "version.py").read_text())[1]

setup(
    name="recon3d",
    version=VERSION,
    description="Shape and orientation map of a grain from dark-field X-ray microscopy topo-tomography",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    package_dir={"recon3d_lib": "lib"},
    packages=["recon3d_lib", *(f"recon3d_lib.{room}" for room in find_packages("lib"))],
    package_data={"recon3d_lib.page": ["*.js"]},
    install_requires=[
        "numpy>=1.24",
        "scipy>=1.10",
        "fabio>=2023.4",
        "h5py>=3.8",
        "hdf5plugin>=4.0",
        "matplotlib>=3.8",
        "pillow>=9.1",
        "plotly>=5.24",
        "numba>=0.58",
        "mpi4py>=4.0",
        "threadpoolctl>=3.1",
    ],
    extras_require={
        "mpich": ["mpich"],
        "test": [
            "pytest>=8",
            "pytest-xdist>=3.5",
            "hypothesis>=6.80",
            "ruff",
            "mypy",
            "vtk",
            "silx",
            "setuptools>=68",
            "wheel",
        ],
    },
    entry_points={
        "console_scripts": [
            "recon3d = recon3d_lib.cli:recon3d",
            "recon3d-getdata = recon3d_lib.cli:getdata",
            "recon3d-simulate = recon3d_lib.cli:simulate",
            "recon3d-check = recon3d_lib.cli:check_geometry",
            "recon3d-cells = recon3d_lib.cli:cells",
            "recon3d-convert = recon3d_lib.cli:convert",
            "recon3d-compare = recon3d_lib.cli:compare",
        ]
    },
)
