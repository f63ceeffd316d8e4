"""Runs an example of the gallery; ``script`` is its path, ``picture`` and ``printed`` where output goes."""

import contextlib
import os
import runpy
import traceback
from pathlib import Path

import matplotlib.pyplot as plt

script: str
picture: str
printed: str

plt.show = lambda *a, **k: None
os.chdir(Path(picture).parent)
with open(printed, "w", encoding="utf-8") as words, contextlib.redirect_stdout(words):
    try:
        runpy.run_path(script, run_name="__main__")
        assert plt.get_fignums(), "the example draws no figure"
        plt.savefig(picture, dpi=110, bbox_inches="tight")
    except BaseException:
        traceback.print_exc(file=words)
        raise SystemExit(1) from None
