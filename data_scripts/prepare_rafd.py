#!/usr/bin/env python
"""Convert the Radboud Faces Database (RaFD), split by model, into the course's format; see lesson 03l.

    python data_scripts/prepare_rafd.py RafD data/rafd-128 --aus rafd_openface
"""
from expr_course.data.rafd import main

if __name__ == "__main__":
    main()
