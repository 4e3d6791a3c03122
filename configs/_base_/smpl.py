# The one body of data, model and metric for real data sets: SMPL's files in
# data/body_models/smpl (docs/body.md), or with
#
#   MPM_POSTOMETRO_BODY=path/to/folder bash tools/...
#
# others. 'built-in' is the built-in body, to which real labels do not belong.
path = '{{$MPM_POSTOMETRO_BODY:smpl}}'
body = dict(path=None if path == 'built-in' else path)
del path
