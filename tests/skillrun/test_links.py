"""Links in a data set that lead out of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from skillrun.errors import DataError
from skillrun.links import MOUNTED_FOLDERS, with_linked_folders
from skillrun.plan import Mount


def mount(folder: Path) -> Mount:
    return Mount(source=str(folder), target="/data/images", read_only=True, kind="dir")


@pytest.fixture
def images(hostile_dir: Path) -> Path:
    (hostile_dir / "images" / "below").mkdir(parents=True)
    (hostile_dir / "store").mkdir()
    (hostile_dir / "store" / "a.png").touch()
    return hostile_dir / "images"


def test_plain_files_and_links_that_stay_inside_need_nothing_more(images: Path) -> None:
    (images / "a.png").touch()
    (images / "below" / "b.png").symlink_to("../a.png")
    assert with_linked_folders([mount(images)]) == (mount(images),)


def test_the_folder_behind_absolute_links_is_mounted_where_it_is(images: Path) -> None:
    store = images.parent / "store"
    (images / "below" / "a.png").symlink_to(store / "a.png")
    (images / "all").symlink_to(store)
    added = with_linked_folders([mount(images)])[1:]
    assert [(one.source, one.target, one.read_only) for one in added] == [(str(store), str(store), True)]


def test_a_link_to_a_link_is_followed_to_its_end(images: Path) -> None:
    store, further = images.parent / "store", images.parent / "further"
    further.mkdir()
    (further / "a.png").symlink_to("../store/a.png")
    (images / "a.png").symlink_to(further / "a.png")
    assert {one.source for one in with_linked_folders([mount(images)])[1:]} == {str(store), str(further)}


def test_a_relative_link_that_leads_out_is_refused_with_the_command_that_mends_it(images: Path) -> None:
    (images / "a.png").symlink_to("../store/a.png")
    with pytest.raises(DataError) as caught:
        with_linked_folders([mount(images)])
    assert caught.value.code == "E_DATA_LINK"
    assert "ln -sfn" in caught.value.fix


def test_many_folders_become_the_one_that_holds_them(images: Path) -> None:
    for number in range(MOUNTED_FOLDERS + 1):
        folder = images.parent / "store" / f"{number}"
        folder.mkdir()
        (folder / "x.png").touch()
        (images / f"{number}.png").symlink_to(folder / "x.png")
    assert [one.source for one in with_linked_folders([mount(images)])[1:]] == [str(images.parent / "store")]


def test_a_broken_link_and_a_circle_end(images: Path) -> None:
    (images / "gone.png").symlink_to(images.parent / "store" / "gone.png")
    (images / "x").symlink_to(images / "y")
    (images / "y").symlink_to(images / "x")
    assert len(with_linked_folders([mount(images)])) == 2
