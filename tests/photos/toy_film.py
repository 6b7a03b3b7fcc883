"""A drawn film, prepared as data_scripts/prepare_openface.py does it."""
from expr_course.data.convert import convert
from expr_course.data.openface import OpenFace, open_video

COUNT, SIZE = 96, 64


def prepare(videos, out):
    open_video.cache_clear()
    convert(OpenFace(videos), out, size=SIZE, progress=False)
    return out
