# Copyright (c) The mpm_postometro authors. All rights reserved.
"""One line on the terminal that says how far a long piece of work is."""
import sys
import time
from typing import Optional, TextIO

import torch
from mmengine.hooks import Hook


def format_seconds(seconds: float) -> str:
    """``75.2`` -> ``'1:15'``."""
    seconds = max(int(round(seconds)), 0)
    hours, seconds = divmod(seconds, 3600)
    minutes, seconds = divmod(seconds, 60)
    if hours:
        return f'{hours}:{minutes:02d}:{seconds:02d}'
    return f'{minutes}:{seconds:02d}'


class ProgressLine:
    """A progress line that rewrites itself on a terminal, and prints a plain
    line every ``interval`` seconds where the output is a file or a pipe,
    none for work that is shorter.

    Args:
        stream (TextIO, optional): Where to write. Defaults to the standard
            output at construction.
        interval (float): Seconds between lines when the stream is not a
            terminal. Defaults to 15.
    """

    width = 24

    def __init__(self,
                 stream: Optional[TextIO] = None,
                 interval: float = 15.0) -> None:
        self.stream = stream or sys.stdout
        self.interval = interval
        self._tty = self.stream.isatty()
        self._last = 0.0 if self._tty else time.monotonic()
        self._open = False

    def update(self, title: str, fraction: float, text: str) -> None:
        """Show ``title [####----] 42 %  text``.

        Args:
            title (str): The name of the work.
            fraction (float): Done, between 0 and 1.
            text (str): What else to say.
        """
        now = time.monotonic()
        if now - self._last < (0.2 if self._tty else self.interval):
            return
        self._last = now
        fraction = min(max(fraction, 0.0), 1.0)
        full = int(round(fraction * self.width))
        bar = '#' * full + '-' * (self.width - full)
        line = f'{title} [{bar}] {100 * fraction:3.0f} %  {text}'
        if self._tty:
            self.stream.write(f'\r\033[K{line}')
            self._open = True
        else:
            self.stream.write(line + '\n')
        self.stream.flush()

    def say(self, text: str) -> None:
        """Print ``text`` on a line of its own that stays."""
        if self._open:
            self.stream.write('\r\033[K')
            self._open = False
        self.stream.write(text + '\n')
        self.stream.flush()


class TrainProgressHook(Hook):
    """Reports the fraction of a training that is done.

    Args:
        report (callable): Called after each iteration with the fraction done
            and a short text (epoch and loss).
    """

    priority = 'VERY_LOW'

    def __init__(self, report) -> None:
        self.report = report

    def after_train_iter(self,
                         runner,
                         batch_idx,
                         data_batch=None,
                         outputs=None) -> None:
        text = f'epoch {runner.epoch + 1}/{runner.max_epochs}'
        if outputs and 'loss' in outputs:
            loss = torch.as_tensor(outputs['loss']).item()
            text += f'  loss {loss:.4g}'
        self.report((runner.iter + 1) / runner.max_iters, text)
