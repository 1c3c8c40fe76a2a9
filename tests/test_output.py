"""Outputs appear whole or not at all, whatever fails or kills; what others did to them is left alone."""

import hashlib
import os
import resource
import shutil
import subprocess
import sys
import textwrap
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dustwatch.daemon.errors import ExitCode, FrameError, Remedy, ServiceError
from dustwatch.daemon.frame import Arrival, Outcome, Receipt
from dustwatch.daemon.output import Draft, Output, sha256_of
from dustwatch.processing.defects import Defect
from dustwatch.processing.image import DamagedImage
from tests.permissions import ordinary_user

MAP, PROFILE = "map", "profile"


@pytest.fixture
def arrival(tmp_path: Path) -> Arrival:
    path = tmp_path / "scans" / "a.tif"
    path.parent.mkdir()
    path.write_bytes(b"the original")
    return Arrival(path, PurePosixPath("roll/a.tif"))


@pytest.fixture
def output(tmp_path: Path) -> Output:
    return ready(tmp_path / "clean")


def ready(folder: Path) -> Output:
    """An output folder that has been occupied."""
    output = Output(folder)
    with output.occupied():
        return output


def receipt_for(arrival: Arrival, data: bytes) -> Receipt:
    return Receipt(
        input=arrival.shown,
        input_sha256=sha256_of(arrival.path),
        output_sha256=hashlib.sha256(data).hexdigest(),
        map_sha256=MAP,
        profile="generic-negative",
        profile_sha256=PROFILE,
        status="cleaned",
        reason="",
    )


def writer(arrival: Arrival, data: bytes, mask: bytes = b"") -> Callable[[Draft], Receipt]:
    def write(draft: Draft) -> Receipt:
        draft.picture.write_bytes(data)
        if mask:
            draft.mask.write_bytes(mask)
        return receipt_for(arrival, data)

    return write


def files(output: Output) -> set[str]:
    found = (path for path in output.folder.rglob("*") if not path.is_dir())
    return {str(path.relative_to(output.folder)) for path in found}


def state(output: Output, arrival: Arrival) -> str:
    return output.state(arrival)


# --- receipts -----------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
COUNT = st.integers(0, 2**40)
RECEIPTS = st.builds(
    Receipt,
    dustwatch=TEXT,
    input=TEXT,
    input_sha256=TEXT,
    output_sha256=TEXT,
    map_sha256=TEXT,
    profile=TEXT,
    profile_sha256=TEXT,
    status=st.sampled_from(["cleaned", "unchanged", "abstained"]),
    reason=TEXT,
    glass_id=st.none() | TEXT,
    map_frames=COUNT,
    offset_px=st.none() | st.tuples(FINITE, FINITE),
    orientation=st.integers(1, 8),
    changed_px=COUNT,
    changed_share=FINITE,
    reencoded=st.booleans(),
    defect_count=COUNT,
    defects=st.lists(
        st.builds(
            Defect,
            st.tuples(COUNT, COUNT, COUNT, COUNT),
            COUNT,
            FINITE,
            st.sampled_from(["divided", "filled", "both"]),
            st.sampled_from(["glass", "film"]),
        ),
        max_size=3,
    ).map(tuple),
)


@given(RECEIPTS)
def test_a_receipt_comes_back_from_json(receipt: Receipt) -> None:
    assert Receipt.from_json(receipt.to_json()) == receipt


def test_a_receipt_names_its_schema_and_version(arrival: Arrival) -> None:
    lines = receipt_for(arrival, b"").to_json().splitlines()
    assert lines[1] == b'  "schema": 1,'
    assert lines[2].startswith(b'  "dustwatch": "')


def test_what_is_not_a_receipt_of_this_schema_is_none(arrival: Arrival) -> None:
    data = receipt_for(arrival, b"").to_json()
    assert Receipt.from_json(data.replace(b'"schema": 1', b'"schema": 2')) is None
    assert Receipt.from_json(data.replace(b'"map_frames": 0', b'"map_frames": "0"')) is None
    assert Receipt.from_json(data.replace(b'"status": "cleaned"', b'"status": "spoilt"')) is None
    assert Receipt.from_json(data[:-20]) is None
    assert Receipt.from_json(b"\xff") is None
    assert Receipt.from_json(b"[]") is None


def test_an_outcome_has_one_status(arrival: Arrival) -> None:
    receipt = receipt_for(arrival, b"")
    assert Outcome(arrival, receipt).status == "cleaned"
    assert Outcome(arrival, replace(receipt, status="abstained")).status == "abstained"
    assert Outcome(arrival, receipt, skipped=True).status == "skipped"
    assert Outcome(arrival, error=FrameError("a.tif: cut short", Remedy.RETRY)).status == "failed"


def test_an_outcome_lets_go_what_the_step_that_failed_has_held(arrival: Arrival) -> None:
    held = []

    def read() -> None:
        band = np.zeros(10)
        held.append(weakref.ref(band))
        raise DamagedImage("cut short")

    def step() -> None:
        try:
            read()
        except DamagedImage as error:
            raise FrameError("a.tif: cut short", Remedy.RETRY) from error

    outcomes = []
    try:
        step()
    except FrameError as error:
        outcomes.append(Outcome(arrival, error=error))
    assert held[0]() is None
    assert isinstance(outcomes[0].error.__cause__, DamagedImage)


# --- publishing ---------------------------------------------------------------------------------------------


def test_a_frame_is_three_files_and_nothing_else(output: Output, arrival: Arrival) -> None:
    receipt = output.drafted(arrival, writer(arrival, b"clean", b"mask"))()
    assert files(output) == {"roll/a.tif", "receipts/roll/a.tif.json", "receipts/roll/a.tif.mask.png"}
    assert output.path(arrival).read_bytes() == b"clean"
    assert output.mask_path(arrival).read_bytes() == b"mask"
    assert Receipt.from_json(output.receipt_path(arrival).read_bytes()) == receipt
    assert output.read_receipt(arrival) == receipt
    assert arrival.path.read_bytes() == b"the original"


def test_a_mask_that_is_no_longer_true_goes(output: Output, arrival: Arrival) -> None:
    output.drafted(arrival, writer(arrival, b"clean", b"mask"))()
    output.drafted(arrival, writer(arrival, b"the original"))()
    assert files(output) == {"roll/a.tif", "receipts/roll/a.tif.json"}


def test_a_copy_has_the_same_bytes(output: Output, arrival: Arrival) -> None:
    arrival.path.write_bytes(os.urandom(3 << 20))

    def write(draft: Draft) -> Receipt:
        shutil.copyfile(arrival.path, draft.picture)
        return receipt_for(arrival, b"")

    assert output.drafted(arrival, write)().output_sha256 == sha256_of(arrival.path)
    assert output.path(arrival).read_bytes() == arrival.path.read_bytes()
    assert state(output, arrival) == "ours"


@pytest.mark.parametrize("mode", [0o644, 0o600, 0o440])
def test_the_permissions_are_the_originals(output: Output, arrival: Arrival, mode: int) -> None:
    arrival.path.chmod(mode)
    seen = []

    def write(draft: Draft) -> Receipt:
        seen.append(draft.picture.stat().st_mode & 0o777)
        return writer(arrival, b"clean", b"mask")(draft)

    for _ in range(2):
        output.drafted(arrival, write)()
        for path in (output.path(arrival), output.mask_path(arrival), output.receipt_path(arrival)):
            assert path.stat().st_mode & 0o777 == mode
    assert seen == [0o600, 0o600]  # nobody looks into an unfinished file


def test_the_picture_is_beside_its_place_and_hidden_until_it_is_finished(output: Output, arrival: Arrival) -> None:
    def write(draft: Draft) -> Receipt:
        assert draft.picture.parent == output.path(arrival).parent
        assert draft.picture.name.startswith(".")
        assert draft.picture.name.endswith(".part")
        assert not output.path(arrival).exists()
        return writer(arrival, b"clean")(draft)

    output.drafted(arrival, write)()


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), FrameError("a.tif", Remedy.SKIP)])
def test_when_the_writer_fails_all_is_as_before(output: Output, arrival: Arrival, error: BaseException) -> None:
    output.drafted(arrival, writer(arrival, b"clean", b"mask"))()
    before = {path: path.read_bytes() for path in output.folder.rglob("*") if path.is_file()}

    def write(draft: Draft) -> Receipt:
        draft.picture.write_bytes(b"half")
        draft.mask.write_bytes(b"half")
        raise error

    with pytest.raises(type(error)):
        output.drafted(arrival, write)()
    assert {path: path.read_bytes() for path in output.folder.rglob("*") if path.is_file()} == before
    assert state(output, arrival) == "ours"


def test_a_picture_put_where_a_link_was_leaves_its_target_alone(output: Output, arrival: Arrival) -> None:
    output.path(arrival).parent.mkdir(parents=True)
    output.path(arrival).symlink_to(arrival.path)
    Output(output.folder, force=True).drafted(arrival, writer(arrival, b"clean"))()
    assert not output.path(arrival).is_symlink()
    assert arrival.path.read_bytes() == b"the original"


# --- what can go wrong with the disk ------------------------------------------------------------------------


def failure(output: Output, arrival: Arrival, write: Callable[[Draft], Receipt], remedy: Remedy = Remedy.RETRY) -> str:
    """Text of the failure, which names the output."""
    with pytest.raises(FrameError) as caught:
        output.drafted(arrival, write)()
    assert caught.value.remedy is remedy
    assert str(caught.value).startswith(f"{output.path(arrival)}: ")
    return str(caught.value)


def test_a_file_that_grows_over_the_limit(output: Output, arrival: Arrival) -> None:
    arrival.path.write_bytes(bytes(1 << 20))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        text = failure(output, arrival, writer(arrival, bytes(1 << 20)))
        also = failure(output, arrival, lambda draft: receipt_for(arrival, draft_copy(arrival, draft)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "limit" in text
    assert text == also
    assert files(output) == set()


def draft_copy(arrival: Arrival, draft: Draft) -> bytes:
    return shutil.copyfile(arrival.path, draft.picture).read_bytes()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk; RLIMIT_FSIZE stands in for it above")
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"cannot mount a small disk here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_said_and_the_next_frame_goes_on(small_disk: Path, arrival: Arrival) -> None:
    output = ready(small_disk / "clean")
    arrival.path.write_bytes(bytes(1 << 20))
    with output.prepare():
        text = failure(output, arrival, lambda draft: receipt_for(arrival, draft_copy(arrival, draft)))
        assert text.endswith("the output folder's disk is full; free some space, then run again")
        assert failure(output, arrival, writer(arrival, bytes(1 << 20))) == text
        assert files(output) == set()
        output.drafted(arrival, writer(arrival, b"small"))()
    assert state(output, arrival) == "ours"


def test_a_folder_in_the_place_of_the_picture(output: Output, arrival: Arrival) -> None:
    output.path(arrival).mkdir(parents=True)
    assert state(output, arrival) == "foreign"
    assert "is there already" in failure(output, arrival, writer(arrival, b"clean"), Remedy.SKIP)
    forced = Output(output.folder, force=True)
    assert "there is a folder of this name" in failure(forced, arrival, writer(arrival, b"clean"))
    assert files(output) == set()


def test_a_folder_in_the_place_of_the_receipt(output: Output, arrival: Arrival) -> None:
    output.receipt_path(arrival).mkdir(parents=True)
    failure(output, arrival, writer(arrival, b"clean"))
    assert state(output, arrival) == "ours"  # the picture was in place before, and is known as ours
    output.receipt_path(arrival).rmdir()
    with output.prepare():
        assert files(output) == {"roll/a.tif", "receipts/roll/a.tif.json"}
    assert state(output, arrival) == "ours"


def test_a_file_in_the_place_of_a_folder(output: Output, arrival: Arrival) -> None:
    (output.folder / "roll").write_bytes(b"")
    text = failure(output, arrival, writer(arrival, b"clean"))
    assert "a file is where its folder should be; move it away" in text


def test_a_name_that_becomes_too_long(output: Output, arrival: Arrival) -> None:
    long = replace(arrival, relative=PurePosixPath("x" * 250 + ".tif"))
    assert "name is too long" in failure(output, long, writer(long, b"clean"))
    assert files(output) == set()


def test_an_original_that_is_gone_is_named_itself(output: Output, arrival: Arrival) -> None:
    arrival.path.unlink()
    with pytest.raises(FrameError, match="cannot be read: No such file") as caught:
        output.drafted(arrival, lambda draft: receipt_for(arrival, draft_copy(arrival, draft)))()
    assert str(caught.value).startswith(f"{arrival.path}: ")
    assert files(output) == set()


def test_a_folder_that_may_not_be_written_in(public: Path) -> None:
    arrival = Arrival(public / "a.tif", PurePosixPath("a.tif"))
    arrival.path.write_bytes(b"")
    (public / "receipts").mkdir()
    public.chmod(0o555)
    with ordinary_user():
        assert "no permission" in failure(Output(public), arrival, writer(arrival, b"clean"))
        for folder in (public, public / "clean"):
            with pytest.raises(ServiceError, match="Permission denied") as caught, Output(folder).prepare():
                pass
            assert str(caught.value).startswith(f"{folder}: the output folder cannot be used")
            assert caught.value.exit_code is ExitCode.USAGE
    assert files(Output(public)) == {"a.tif"}


@pytest.mark.parametrize("name", ["a.tif", "receipts/a.tif.json"])
def test_a_picture_or_receipt_that_may_not_be_read(public: Path, name: str) -> None:
    arrival = Arrival(public / "scan.tif", PurePosixPath("a.tif"))
    arrival.path.write_bytes(b"")
    output = ready(public / "clean")
    output.drafted(arrival, writer(arrival, b"clean"))()
    file = output.folder / name
    file.chmod(0)
    with ordinary_user(), pytest.raises(FrameError, match="cannot be read: Permission denied") as caught:
        state(output, arrival)
    assert str(caught.value).startswith(f"{file}: ")


# --- whose it is --------------------------------------------------------------------------------------------


def test_what_we_wrote_is_ours(output: Output, arrival: Arrival) -> None:
    assert state(output, arrival) == "none"
    output.drafted(arrival, writer(arrival, b"clean"))()
    assert state(output, arrival) == "ours"


def test_an_edit_is_noticed_and_a_deletion_too(output: Output, arrival: Arrival) -> None:
    output.drafted(arrival, writer(arrival, b"clean"))()
    output.path(arrival).write_bytes(b"CLEAN")
    assert state(output, arrival) == "edited"
    output.path(arrival).unlink()
    assert state(output, arrival) == "none"


@pytest.mark.parametrize("receipt", [None, b"", b'{"schema": 2}'])
def test_a_picture_without_a_receipt_is_somebody_elses(output: Output, arrival: Arrival, receipt: bytes | None) -> None:
    output.drafted(arrival, writer(arrival, b"clean"))()
    output.receipt_path(arrival).unlink()
    if receipt is not None:
        output.receipt_path(arrival).write_bytes(receipt)
    assert state(output, arrival) == "foreign"
    with pytest.raises(FrameError, match="is there already") as caught:
        output.drafted(arrival, writer(arrival, b"again", b"mask"))()
    assert caught.value.remedy is Remedy.SKIP
    assert output.path(arrival).read_bytes() == b"clean"
    assert not output.mask_path(arrival).exists()
    Output(output.folder, force=True).drafted(arrival, writer(arrival, b"again"))()
    assert output.path(arrival).read_bytes() == b"again"
    assert state(output, arrival) == "ours"


def test_an_edit_while_the_frame_is_being_cleaned_is_not_lost(output: Output, arrival: Arrival) -> None:
    output.drafted(arrival, writer(arrival, b"clean", b"mask"))()

    def write(draft: Draft) -> Receipt:
        output.path(arrival).write_bytes(b"CLEAN")
        return writer(arrival, b"again")(draft)

    with pytest.raises(FrameError, match="has been changed since it was cleaned"):
        output.drafted(arrival, write)()
    assert output.path(arrival).read_bytes() == b"CLEAN"
    assert files(output) == {"roll/a.tif", "receipts/roll/a.tif.json", "receipts/roll/a.tif.mask.png"}
    assert state(output, arrival) == "edited"
    Output(output.folder, force=True).drafted(arrival, write)()
    assert state(output, arrival) == "ours"


def test_a_link_to_nowhere_is_somebody_elses(output: Output, arrival: Arrival) -> None:
    output.path(arrival).parent.mkdir(parents=True)
    output.path(arrival).symlink_to("nowhere")
    assert state(output, arrival) == "foreign"


# --- the folder during a run --------------------------------------------------------------------------------


def test_the_work_folder_is_there_for_the_run_only(output: Output) -> None:
    with output.prepare() as work:
        assert work.parent == output.folder
        assert work.name.startswith(".")
        (work / "scratch").write_bytes(b"x")
    assert list(output.folder.iterdir()) == [output.receipts]


def test_the_work_folder_goes_when_the_run_fails(output: Output) -> None:
    def run() -> None:
        with output.prepare() as work:
            (work / "scratch").write_bytes(b"x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        run()
    assert list(output.folder.iterdir()) == [output.receipts]


def test_a_receipt_that_failed_to_get_into_place_after_its_picture_is_put_there(
    output: Output, arrival: Arrival
) -> None:
    output.drafted(arrival, writer(arrival, b"older"))()
    older = output.receipt_path(arrival).read_bytes()
    output.drafted(arrival, writer(arrival, b"newer"))()
    newer = output.receipt_path(arrival)
    pending = newer.rename(newer.with_name(f".{newer.name}.dustwatch.part"))
    newer.write_bytes(older)
    expected = pending.read_bytes()
    output.settle(arrival)
    assert newer.read_bytes() == expected
    assert not pending.exists()
    output.settle(arrival)
    assert state(output, arrival) == "ours"


def test_a_link_in_the_place_of_a_picture_is_somebody_elses(output: Output, arrival: Arrival) -> None:
    output.drafted(arrival, writer(arrival, b"clean"))()
    moved = output.path(arrival).rename(output.folder / "moved.tif")
    output.path(arrival).symlink_to(moved)
    assert state(output, arrival) == "foreign"


def test_two_runs_do_not_write_in_one_folder(output: Output) -> None:
    script = """
        import sys
        from pathlib import Path
        from dustwatch.daemon.output import Output
        with Output(Path(sys.argv[1])).prepare():
            pass
    """
    other = [sys.executable, "-c", textwrap.dedent(script), str(output.folder)]
    with output.prepare():
        done = subprocess.run(other, capture_output=True, text=True, check=False)
        assert "another run is writing in this folder" in done.stderr
    assert subprocess.run(other, check=False).returncode == 0


def test_a_file_cannot_be_the_output_folder(arrival: Arrival) -> None:
    for folder in (arrival.path, arrival.path / "below"):
        with pytest.raises(ServiceError, match="cannot be used") as caught, Output(folder).prepare():
            pass
        assert caught.value.exit_code is ExitCode.USAGE


def test_leftovers_of_dead_processes_go_and_nothing_else(output: Output, arrival: Arrival) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    mine, alive = (output.folder / f".dustwatch-{pid}" for pid in (os.getpid(), os.getppid()))
    for work in (output.folder / f".dustwatch-{dead.pid}", mine, alive):
        work.mkdir(parents=True)
        (work / "scratch").write_bytes(b"x")
    output.drafted(arrival, writer(arrival, b"clean"))()
    drafts = []

    def write(draft: Draft) -> Receipt:
        drafts.extend([draft.picture, draft.mask, draft.mask.with_name(f"{draft.mask.name}.raw")])
        return writer(arrival, b"clean", b"mask")(draft)

    output.drafted(arrival, write)()
    for draft in drafts:
        draft.write_bytes(b"half")
    (output.folder / ".rsync.part").write_bytes(b"somebody else's")
    kept = {"roll/a.tif", "receipts/roll/a.tif.json", "receipts/roll/a.tif.mask.png", ".rsync.part"}
    with output.prepare():
        assert files(output) == kept | {f"{alive.name}/scratch"}


# --- killed at any moment -----------------------------------------------------------------------------------

VICTIM = """
    import os, shutil, signal, sys
    from dataclasses import replace
    from pathlib import Path, PurePosixPath
    from dustwatch.daemon.frame import Arrival, Receipt
    from dustwatch.daemon.output import Output, sha256_of

    folder, moment = Path(sys.argv[1]), 0
    arrival = Arrival(folder / "a.tif", PurePosixPath("roll/a.tif"))
    output = Output(folder / "clean")

    def write(draft):
        draft.mask.write_bytes(b"mask")
        digest = sha256_of(shutil.copyfile(arrival.path, draft.picture))
        return Receipt(
            input="a.tif", input_sha256=digest, output_sha256="", map_sha256=digest, profile="p",
            profile_sha256="q", status="unchanged", reason="",
        )

    def publish_until(moment):
        # In a child: count what is done to the file system, and die at the given one.
        left = [moment]
        def hook(event, arguments):
            if event == "open" or event.startswith(("os.", "shutil.")):
                left[0] -= 1
                if left[0] == -1:  # once: the kill is an event, too
                    os.kill(os.getpid(), signal.SIGKILL)
        child = os.fork()
        if child == 0:
            sys.addaudithook(hook)
            output.drafted(arrival, write)()
            os._exit(0)
        return os.waitpid(child, 0)[1]

    def killed_at_every_moment():
        moment = 0
        while True:
            output.receipts.mkdir(parents=True)
            if "again" in sys.argv:  # over an older picture of ours
                arrival.path.write_bytes(b"older")
                output.drafted(arrival, write)()
            arrival.path.write_bytes(b"newer")
            digest = sha256_of(arrival.path)
            status = publish_until(moment)
            pictures = [path.read_bytes() for path in output.folder.glob("roll/[!.]*")]
            assert pictures in ([], [b"older"], [b"newer"]), (moment, pictures)
            state, receipt = output.state(arrival), output.read_receipt(arrival)
            assert state == ("ours" if pictures else "none"), (moment, state)
            newer = receipt is not None and receipt.output_sha256 == digest
            assert newer == (pictures == [b"newer"]), moment
            with output.prepare():
                assert output.state(arrival) == state, moment
                assert not list(output.folder.rglob("*.part")), moment
                receipts = [Receipt.from_json(path.read_bytes()) for path in output.folder.rglob("*.json")]
                assert len(receipts) == len(pictures), moment
                if pictures:
                    output.path(arrival).write_bytes(b"edited")
                    assert output.state(arrival) == "edited", moment
                    output.path(arrival).write_bytes(pictures[0])
            output.drafted(arrival, write)()
            assert output.state(arrival) == "ours", moment
            shutil.rmtree(output.folder)
            if status == 0:
                return moment
            assert os.WTERMSIG(status) == signal.SIGKILL
            moment += 1

    print(killed_at_every_moment())
"""


@pytest.mark.parametrize("how", ["anew", "again"])
def test_a_run_killed_at_any_moment_goes_on_and_takes_no_edit_for_its_own(tmp_path: Path, how: str) -> None:
    victim = [sys.executable, "-c", textwrap.dedent(VICTIM), str(tmp_path), how]
    done = subprocess.run(victim, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10
