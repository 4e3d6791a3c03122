# What every config of this package shares: MMPose's own runtime, plus the
# import that registers our modules.
_base_ = ['mmpose::_base_/default_runtime.py']

custom_imports = dict(imports=['mpm_postometro'], allow_failed_imports=False)

default_hooks = dict(
    logger=dict(interval=50), checkpoint=dict(interval=1, max_keep_ckpts=2))
