"""Images out of a real engine into a bundle, and back."""

from __future__ import annotations

import io
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from docker import DockerClient
from skillrun import bundle, images
from skillrun.bundle import archive, engine_images
from skillrun.bundle.archive import Piece
from skillrun.bundle.manifest import Image, Manifest
from skillrun.errors import BackendError, DataError, NotFoundError, UsageError
from skillrun.progress import Progress
from skillrun.staging import store


def silent(event: Progress) -> None:
    """Nobody looks."""


def imported(client: DockerClient, content: bytes, tag: str) -> str:
    """An image of one file, which needs no base and no network; returns its name."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        entry = tarfile.TarInfo("mark")
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    client.api.import_image_from_data(packed.getvalue(), repository="skillrun-test/bundle", tag=tag)
    return f"skillrun-test/bundle:{tag}"


@pytest.fixture
def image(engine: DockerClient) -> Iterator[str]:
    """A small image of its own name; nothing of it is left."""
    name = imported(engine, uuid.uuid4().bytes, f"t{uuid.uuid4().hex[:8]}")
    yield name
    if images.find(engine, name):
        engine.images.remove(name, force=True)


@pytest.fixture
def out(workspace: Path) -> Path:
    """Where a bundle is made; the weights of every bundle here are beside it."""
    (workspace / "w.pth").write_bytes(b"weights")
    return workspace / "line.skillrun-bundle"


def made(out: Path, *names: str) -> Path:
    """A bundle with these images."""
    content = bundle.Content((str(out.with_name("w.pth")),), names, with_wheels=False)
    return bundle.create(out, content, silent).path


def loaded(path: Path) -> dict[str, str]:
    """Image → what loading did."""
    taken = bundle.load(path, path.with_name("wheels"), silent)
    return {one.member.name: one.state for one in taken if isinstance(one.member, Image)}


def test_an_image_comes_back_with_the_same_id_and_name(engine: DockerClient, image: str, out: Path) -> None:
    before = images.find(engine, image)
    path = made(out, image)
    engine.images.remove(image)
    assert images.find(engine, image) is None
    assert loaded(path) == {image: "loaded"}
    assert images.find(engine, image) == before
    assert loaded(path) == {image: "already here"}
    assert sorted(one.name for one in out.parent.iterdir() if one.name.startswith(".")) == []


def test_the_base_image_is_already_here(base_image: str, out: Path) -> None:
    assert loaded(made(out, base_image)) == {base_image: "already here"}


def test_a_name_that_means_another_image_by_now_is_given_back_to_the_bundles(
    engine: DockerClient, image: str, out: Path
) -> None:
    before = images.find(engine, image)
    path = made(out, image)
    imported(engine, b"other", image.rpartition(":")[2])
    other = images.find(engine, image)
    assert other not in (None, before)
    assert loaded(path) == {image: "loaded"}
    assert images.find(engine, image) == before
    engine.images.remove(other)


def recorded_as(path: Path, **changes: Any) -> Path:
    """The same bundle with another record of its image, as another engine could have written it."""
    with bundle.opened(path) as found:
        (image,) = [member for member in found.manifest.members if isinstance(member, Image)]
        file = path.with_name("image.tar")
        file.write_bytes(b"".join(found.content(image)))
    other = image.model_copy(update=changes)
    out = path.with_name("other.skillrun-bundle")
    archive.write(out, Manifest(created="now", members=(other,)), [Piece(other, file)], silent)
    return out


def test_an_engine_that_names_the_same_layers_otherwise_has_the_image(
    engine: DockerClient, image: str, out: Path
) -> None:
    identity = images.find(engine, image)
    path = recorded_as(made(out, image), image_id=f"sha256:{'c' * 64}")
    (taken,) = bundle.load(path, out.with_name("wheels"), silent)
    assert (taken.state, taken.place) == ("loaded", identity)


def test_an_image_of_other_layers_than_recorded_is_an_error(image: str, out: Path) -> None:
    digest = f"sha256:{'c' * 64}"
    path = recorded_as(made(out, image), image_id=digest, layers=(digest,))
    with pytest.raises(BackendError, match="the bundle recorded") as caught:
        loaded(path)
    assert caught.value.code == "E_BUNDLE_IMAGE"


def test_nothing_of_a_damaged_bundle_reaches_the_engine(engine: DockerClient, image: str, out: Path) -> None:
    path = made(out, image)
    engine.images.remove(image)
    data = bytearray(path.read_bytes())
    data[-3000] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="damaged"):
        loaded(path)
    assert images.find(engine, image) is None


def test_what_the_engine_can_not_load_is_an_error_that_names_it(engine: DockerClient, out: Path) -> None:
    digest, name, file = f"sha256:{'a' * 64}", "skillrun-test/none:1", out.with_name("none.tar")
    file.write_bytes(b"no image" * 100)
    sha256 = store.sha256_of(file).hexdigest()
    record = Image(name=name, size=file.stat().st_size, sha256=sha256, image_id=digest, layers=(digest,))
    archive.write(out, Manifest(created="now", members=(record,)), [Piece(record, file)], silent)
    with pytest.raises(BackendError, match=f"not loaded: {name}; loaded: nothing") as caught:
        loaded(out)
    assert caught.value.exit_code == 8
    assert images.find(engine, name) is None


def test_an_image_that_the_engine_has_not_is_told_before_anything_is_written(engine: DockerClient, out: Path) -> None:
    with pytest.raises(NotFoundError, match="the engine has no image"):
        made(out, "skillrun-test/absent:1")
    assert not out.exists()


def test_an_image_by_its_id_has_no_name_to_be_saved_with(engine: DockerClient, image: str, out: Path) -> None:
    identity = images.find(engine, image)
    assert identity is not None
    with pytest.raises(UsageError, match="is no name that can be saved") as caught:
        made(out, identity)
    assert image in caught.value.fix


def test_without_names_our_own_images_are_taken(engine: DockerClient, cpu_image: str) -> None:
    found = engine_images.chosen(engine, ())
    assert cpu_image in found
    assert set(found) <= {image.reference for image in images.known() if not image.published}
