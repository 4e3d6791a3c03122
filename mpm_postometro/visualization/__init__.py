# Copyright (c) The mpm_postometro authors. All rights reserved.
from .export import MESH_FORMATS, camera_to_y_up, export_mesh
from .overlay import (PALETTE, overlay_perspective, overlay_weak_perspective,
                      person_panel, render_view, stack_panels)
from .report import (Curve, Image, Stage, Summary, Table, read_scalars,
                     write_report)
from .viewer import ViewerMesh, mesh_viewer_html, write_mesh_viewer
from .visualization_hook import MeshVisualizationHook, check_picture_files

__all__ = [
    'MESH_FORMATS', 'PALETTE', 'Curve', 'Image', 'MeshVisualizationHook',
    'Stage', 'Summary', 'Table', 'ViewerMesh', 'camera_to_y_up',
    'check_picture_files', 'export_mesh', 'mesh_viewer_html',
    'overlay_perspective', 'overlay_weak_perspective', 'person_panel',
    'read_scalars', 'render_view', 'stack_panels', 'write_mesh_viewer',
    'write_report'
]
