#!/usr/bin/env python
"""Convert the Radboud Faces Database (RaFD), split by model, into the course's format; see lesson 03j.

    python data_scripts/prepare_rafd.py RafD data/rafd-128 --aus rafd_openface
"""
from expr_course.data.affectnet import main_rafd

if __name__ == "__main__":
    main_rafd()
