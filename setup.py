# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Packaging; the wheel carries configs and tools in ``.mim`` for mim."""
import os
import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
PACKAGE = 'mpm_postometro'
MIM_PATHS = ('configs', 'tools', 'model-index.yml')


def read_version():
    """The version, read without importing the package."""
    text = (ROOT / PACKAGE / '__init__.py').read_text(encoding='utf-8')
    return re.search(r"^__version__ = '(.+)'$", text, re.MULTILINE).group(1)


def read_requirements(name):
    """The requirements of a file in requirements/, without comments."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    lines = (line.split('#')[0].strip() for line in lines)
    return [line for line in lines if line]


def read_readme():
    path = ROOT / 'README.md'
    return path.read_text(encoding='utf-8') if path.exists() else ''


class BuildWithMim(build_py):
    """Copy configs and tools into the built package, not the sources."""

    def run(self):
        super().run()
        if self.editable_mode:  # mim wants a normal installation anyway
            return
        target = Path(self.build_lib) / PACKAGE / '.mim'
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in MIM_PATHS:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(
                    source,
                    target / name,
                    ignore=shutil.ignore_patterns('__pycache__', '*.py[cod]'))
            else:
                shutil.copy(source, target / name)

    def get_outputs(self, include_bytecode=True):
        target = os.path.join(self.build_lib, PACKAGE, '.mim')
        copied = [
            os.path.join(folder, name) for folder, _, names in os.walk(target)
            for name in names
        ]
        return super().get_outputs(include_bytecode) + copied


setup(
    name=PACKAGE,
    version=read_version(),
    description='PCT and PostoMETRO in MMPose: pose tokens, and 3D human '
    'meshes from images',
    long_description=read_readme(),
    long_description_content_type='text/markdown',
    author='The mpm_postometro authors',
    license='Apache License 2.0',
    keywords='computer vision, human pose estimation, human mesh recovery',
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    package_data={'': ['assets/*']},
    # What is tested; tools/setup_env.sh refuses others too.
    python_requires='>=3.11,<3.12',
    # MMPose is not among the requirements: its own ones cannot be installed
    # without the stand-in for chumpy (see docs/install.md).
    install_requires=read_requirements('runtime'),
    extras_require={
        'mim': read_requirements('mminstall'),
        'tests': read_requirements('tests'),
        'optional': read_requirements('optional'),
    },
    classifiers=[
        'Development Status :: 3 - Alpha',
        'License :: OSI Approved :: Apache Software License',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3.11',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    cmdclass={'build_py': BuildWithMim},
    zip_safe=False)
