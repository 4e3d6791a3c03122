# The one body of data, model and metric: the built-in one, or with
#
#   MPM_POSTOMETRO_BODY=path/to/SMPL_NEUTRAL.pkl bash tools/...
#
# another for all configs (docs/body.md). What refers to it copies it when a
# config is read, so that an option of the command line comes too late.
path = '{{$MPM_POSTOMETRO_BODY:built-in}}'
body = dict(path=None if path == 'built-in' else path)
del path
