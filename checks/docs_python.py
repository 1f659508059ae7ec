#!/usr/bin/env python3
"""Run the Python of a page of docs/ from top to bottom, with a run of mvp-train in place of `run`.

    python checks/docs_python.py docs/training.md RUN

Needs torch, timm and safetensors. The page's own assertions are the check.
"""
import re
import sys
from pathlib import Path


def main():
    page, run = Path(sys.argv[1]), sys.argv[2]
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.M | re.S)
    if not blocks:
        sys.exit(f"{page} holds no Python")
    names = {}
    for n, text in enumerate(blocks, 1):
        exec(compile(text.replace('"run/', f'"{run}/'), f"{page}, block {n}", "exec"), names)
    print(f"{page}: {len(blocks)} blocks of Python run on {run}")


if __name__ == "__main__":
    main()
