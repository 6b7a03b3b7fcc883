#!/usr/bin/env python
"""Convert CelebAMask-HQ (photographs with label maps) into the course's format; see lesson 03h.

    python data_scripts/prepare_celebamask.py CelebAMask-HQ data/celebamask-128
    python data_scripts/prepare_celebamask.py CelebAMask-HQ data/celebamask-128 --labels merged --order second
"""
from expr_course.data.celebamask import main

if __name__ == "__main__":
    main()
