# Copyright (c) The mpm_postometro authors. All rights reserved.
"""A real browser without a screen, where there is one."""
import re
import shutil
import subprocess
from typing import Dict, List, NamedTuple

import pytest

# What Chromium says about drawing without a graphics card; not our doing.
_HARMLESS = re.compile('GL Driver Message|software WebGL')
_FLAGS = [
    '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic',
    '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--hide-scrollbars',
    '--host-resolver-rules=MAP * ~NOTFOUND', '--enable-logging=stderr',
    '--v=0', '--virtual-time-budget=5000', '--dump-dom'
]


class Opened(NamedTuple):
    """A page after its scripts ran."""
    dom: str
    console: List[str]

    def attributes(self, css_class: str) -> List[Dict[str, str]]:
        """``data-`` attributes of the elements with just this class."""
        tags = re.findall(rf'<div class="{css_class}"([^>]*)>', self.dom)
        return [dict(re.findall(r'data-(\w+)="([^"]*)"', tag)) for tag in tags]


@pytest.fixture
def browser(tmp_path):
    """Function: open a page in headless Chromium, (path, *flags) -> Opened."""
    names = ('chromium', 'chromium-browser', 'google-chrome', 'chrome')
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip('no Chromium on this machine')

    def open_page(path, *flags):
        done = subprocess.run([
            program, *_FLAGS, f'--user-data-dir={tmp_path / "profile"}',
            *flags,
            path.resolve().as_uri()
        ],
                              capture_output=True,
                              text=True,
                              timeout=120)
        assert done.returncode == 0, done.stderr[-2000:]
        console = [
            line for line in done.stderr.splitlines()
            if 'CONSOLE' in line and not _HARMLESS.search(line)
        ]
        return Opened(done.stdout, console)

    return open_page
