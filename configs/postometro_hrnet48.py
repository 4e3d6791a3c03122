# PostoMETRO at the published size (image -> 3D human mesh, 256 x 256,
# HRNet-W48, transformers of width 512 and 128 with three layers each).
#
#   bash tools/dist_train.sh configs/postometro_hrnet48.py 8
_base_ = ['./postometro/postometro_hrnet48-8xb12-30e_synthetic-256x256.py']
