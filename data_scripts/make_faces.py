#!/usr/bin/env python
"""Draw faces with exact action units, labels and landmarks into Parquet shards (the same as the command expr-faces).

    python data_scripts/make_faces.py data/faces-64 --split train --count 20000
    python data_scripts/make_faces.py data/faces-64 --split val --count 2000
    python data_scripts/make_faces.py data/faces-64 --verify
"""
from expr_course.data.shards import main

if __name__ == "__main__":
    main()
