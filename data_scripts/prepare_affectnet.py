#!/usr/bin/env python
"""Convert AffectNet, in the layout of 2017 or 2021, into the course's format; see lesson 03j.

    python data_scripts/prepare_affectnet.py AffectNet8 data/affectnet-128 --aus affectnet_openface
"""
from expr_course.data.affectnet import main

if __name__ == "__main__":
    main()
