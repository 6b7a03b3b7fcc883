#!/usr/bin/env python
"""Convert videos or pictures with tables of action units (OpenFace, pyfaceau, py-feat, text, JSON) into the course's
format; see lesson 03i.

    python data_scripts/prepare_openface.py videos data/me-128
    python data_scripts/prepare_openface.py pictures data/photos-128 --aus processed --people "(subject[0-9]+)_"
"""
from expr_course.data.openface import main

if __name__ == "__main__":
    main()
