# Copyright (c) The mpm_postometro authors. All rights reserved.
"""A config of another project gets our modules by ``custom_imports``."""
import os
import subprocess
import sys

CONFIG = """
_base_ = ['mmpose::_base_/default_runtime.py']
custom_imports = dict(
    imports=['mpm_postometro'], allow_failed_imports=False)
default_scope = 'mmpose'
work_dir = '{work_dir}'
train_cfg, val_cfg, test_cfg = None, None, None
model = dict(
    type='TokenizerEstimator',
    tokenizer=dict(
        type='PCTTokenizer',
        num_tokens=4,
        num_codes=8,
        token_dim=8))
"""

# MMEngine alone: neither MMPose nor our package is imported here.
PROGRAM = """
import sys
from mmengine.config import Config
from mmengine.runner import Runner
assert 'mpm_postometro' not in sys.modules
cfg = Config.fromfile(sys.argv[1])
model = Runner.from_cfg(cfg).model
print(type(model).__module__, type(model.tokenizer).__name__)
"""


def test_custom_imports_alone_register_our_modules(tmp_path):
    config = tmp_path / 'theirs.py'
    config.write_text(CONFIG.format(work_dir=(tmp_path / 'work').as_posix()))
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', PROGRAM,
         str(config)],
        cwd=tmp_path,
        env=os.environ,
        capture_output=True,
        text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == (
        'mpm_postometro.models.pose_estimators.tokenizer_estimator '
        'PCTTokenizer')
