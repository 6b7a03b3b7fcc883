"""The editor as a page, without a browser: what Voila is told, and what happens where it is missing."""
import sys
from pathlib import Path

import nbformat

from expr_course.editing.views import MAX_BYTES
from expr_course.editor.page import IDLE_MINUTES, MESSAGE_BYTES, main, notebook, voila_arguments


def test_voila_is_told_its_limits():
    words = voila_arguments(Path("x.ipynb"), 8000, browser=False)
    assert (
        MESSAGE_BYTES > 2 * MAX_BYTES
        and f"--Voila.tornado_settings={{'websocket_max_message_size': {MESSAGE_BYTES}}}" in words
    )
    assert (
        f"--MappingKernelManager.cull_idle_timeout={60 * IDLE_MINUTES:.0f}" in words
        and "--MappingKernelManager.cull_connected=True" in words
    )
    assert (
        "--Voila.ip=127.0.0.1" in words
        and "--no-browser" in words
        and "--no-browser" not in voila_arguments(Path("x.ipynb"))
    )
    nbformat.validate(nbformat.from_dict(notebook()))


def test_without_voila(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "voila.app", None)
    assert main(["--no-browser"]) == 2 and "expr_course[lab]" in capsys.readouterr().err
