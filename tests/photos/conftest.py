"""A drawn snapshot, a small editor and a drawn film, made once for the tests of photographs."""
import pytest
from toy_editor import network
from toy_film import COUNT, SIZE, prepare

from expr_course.editing import ExpressionEditor
from expr_course.photos.film import draw_film, read_frames
from expr_course.photos.find import find_faces
from expr_course.photos.places import portrait_wall
from expr_course.training.weights import save_network


@pytest.fixture(scope="session")
def editor():
    return ExpressionEditor(network(), size=32, device="cpu")


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    save_network(folder / "generator.safetensors", network(), size=32)
    (folder / "card.json").write_text("{}")
    return folder


@pytest.fixture(scope="session")
def snapshot():
    """One drawn portrait, askew, in a picture of 320×260: pixels 3×H×W and the true frame."""
    photo, (true,) = portrait_wall(((1006, 170, 130, 170, 8),), 260, 320)
    return (photo * 127.5 + 127.5).round() / 127.5 - 1, true


@pytest.fixture(scope="session")
def pixels(snapshot):
    return (snapshot[0] * 127.5 + 127.5).round().byte().permute(1, 2, 0).contiguous().numpy()


@pytest.fixture(scope="session")
def face(snapshot):
    (found,) = find_faces(snapshot[0])
    return found


@pytest.fixture(scope="session")
def videos(tmp_path_factory):
    """A drawn film of 96 frames and its table."""
    return draw_film(tmp_path_factory.mktemp("film") / "videos", COUNT, SIZE)


@pytest.fixture(scope="session")
def prepared(videos):
    return prepare(videos, videos.parent / "me")


@pytest.fixture(scope="session")
def film(prepared):
    return read_frames(prepared)
