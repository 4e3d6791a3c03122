# Copyright (c) The mpm_postometro authors. All rights reserved.
from .export import MESH_FORMATS, camera_to_y_up, export_mesh, write_picture
from .overlay import (PALETTE, overlay_perspective, overlay_weak_perspective,
                      person_panel, render_view, stack_panels)
from .report import (Curve, Image, Stage, Summary, Table, read_scalars,
                     write_report)
from .skeleton_video import (VIDEO_FORMATS, PosePanel2D, PosePanel3D,
                             SkeletonVideo, write_video)
from .token_pictures import (CodebookUsage, TokenEffects, codebook_usage,
                             draw_codebook_usage, draw_poses,
                             draw_token_effects, draw_token_influence,
                             frequent_codes, swap_codes)
from .viewer import ViewerMesh, mesh_viewer_html, write_mesh_viewer
from .visualization_hook import MeshVisualizationHook, check_picture_files

__all__ = [
    'CodebookUsage', 'Curve', 'Image', 'MESH_FORMATS', 'MeshVisualizationHook',
    'PALETTE', 'PosePanel2D', 'PosePanel3D', 'SkeletonVideo', 'Stage',
    'Summary', 'Table', 'TokenEffects', 'VIDEO_FORMATS', 'ViewerMesh',
    'camera_to_y_up', 'check_picture_files', 'codebook_usage',
    'draw_codebook_usage', 'draw_poses', 'draw_token_effects',
    'draw_token_influence', 'export_mesh', 'frequent_codes',
    'mesh_viewer_html', 'overlay_perspective', 'overlay_weak_perspective',
    'person_panel', 'read_scalars', 'render_view', 'stack_panels',
    'swap_codes', 'write_mesh_viewer', 'write_picture', 'write_report',
    'write_video'
]
