"""Draw docs/paraview.png: the grain of the demo as ParaView shows it, with vtk and without a screen.

python docs/draw_paraview.py [grain.vtkhdf] [picture.png]
"""

from __future__ import annotations

import sys
from pathlib import Path

import vtkmodules.vtkRenderingFreeType
import vtkmodules.vtkRenderingOpenGL2  # noqa: F401 - draws
from vtkmodules.vtkCommonDataModel import vtkDataObject
from vtkmodules.vtkFiltersCore import vtkThreshold
from vtkmodules.vtkFiltersGeometry import vtkDataSetSurfaceFilter
from vtkmodules.vtkIOHDF import vtkHDFReader
from vtkmodules.vtkIOImage import vtkPNGWriter
from vtkmodules.vtkRenderingAnnotation import vtkCubeAxesActor
from vtkmodules.vtkRenderingCore import (
    vtkActor,
    vtkDataSetMapper,
    vtkRenderer,
    vtkRenderWindow,
    vtkWindowToImageFilter,
)

HERE = Path(__file__).resolve().parent
CELLS = vtkDataObject.FIELD_ASSOCIATION_CELLS


def surface(path: str) -> vtkDataSetSurfaceFilter:
    """What Open, Threshold (mask from 1 to 1) and Surface give."""
    reader = vtkHDFReader()
    reader.SetFileName(path)
    grain = vtkThreshold()
    grain.SetInputConnection(reader.GetOutputPort())
    grain.SetInputArrayToProcess(0, 0, 0, CELLS, "mask")
    grain.SetThresholdFunction(vtkThreshold.THRESHOLD_UPPER)
    grain.SetUpperThreshold(0.5)
    faces = vtkDataSetSurfaceFilter()
    faces.SetInputConnection(grain.GetOutputPort())
    faces.Update()
    return faces


def draw(path: str, picture: str) -> None:
    """The surface of the grain in the colours of its orientation, with axes in micrometres."""
    faces = surface(path)
    mapper = vtkDataSetMapper()
    mapper.SetInputConnection(faces.GetOutputPort())
    mapper.SetScalarModeToUseCellFieldData()
    mapper.SelectColorArray("rgb")
    mapper.SetColorModeToDirectScalars()
    actor = vtkActor()
    actor.SetMapper(mapper)
    renderer = vtkRenderer()
    renderer.SetBackground(1, 1, 1)
    renderer.AddActor(actor)
    axes = vtkCubeAxesActor()
    axes.SetBounds(faces.GetOutput().GetBounds())
    axes.SetCamera(renderer.GetActiveCamera())
    axes.SetFlyModeToOuterEdges()
    for i, name in enumerate("XYZ"):
        getattr(axes, f"Set{name}Title")(f"{name.lower()} (um)")
        for text in (axes.GetTitleTextProperty(i), axes.GetLabelTextProperty(i)):
            text.SetColor(0.2, 0.2, 0.2)
        getattr(axes, f"Get{name}AxesLinesProperty")().SetColor(0.5, 0.5, 0.5)
    renderer.AddActor(axes)
    renderer.GetActiveCamera().SetPosition(2, -3, 1.6)
    renderer.GetActiveCamera().SetViewUp(0, 0, 1)
    renderer.ResetCamera()
    renderer.GetActiveCamera().Zoom(0.95)
    window = vtkRenderWindow()
    window.SetOffScreenRendering(True)
    window.SetSize(800, 600)
    window.SetMultiSamples(0)
    window.AddRenderer(renderer)
    window.Render()
    image = vtkWindowToImageFilter()
    image.SetInput(window)
    writer = vtkPNGWriter()
    writer.SetFileName(picture)
    writer.SetInputConnection(image.GetOutputPort())
    writer.Write()


if __name__ == "__main__":
    chosen = [*sys.argv[1:], *("demo/array/grain.vtkhdf", str(HERE / "paraview.png"))[len(sys.argv) - 1 :]]
    draw(chosen[0], chosen[1])
