"""Wheels for `benchmarks.gpu` on a machine without network.

    python -m tools.gpu_bundle [--out .wheels] [--python 3.12]

For a machine that has PyTorch for CUDA and much else, but neither network nor all that this package
needs: downloads the rest (`MISSING`) into a folder beside the source, which git ignores, and says
the command to give over there, in the root of a copy of this repository.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
MISSING: Final = ("polars", "polars-runtime-32", "msgspec", "tomli-w")
PLATFORMS: Final = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
LIMIT: Final = 64 << 20
"""Bytes of repository and wheels together that such a machine takes."""
COMMAND: Final = (
    "python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade "
    "--target /tmp/site {wheels}/*.whl && PYTHONUNBUFFERED=1 PYTHONPATH=/tmp/site:. "
    "python3 -m benchmarks.gpu --minutes 8 --out $OUT"
)


def download(folder: Path, python: str) -> None:
    """Fetch the wheels in the versions of ``constraints.txt``; earlier ones are dropped."""
    folder.mkdir(parents=True, exist_ok=True)
    for wheel in folder.glob("*.whl"):
        wheel.unlink()
    platforms = [word for name in PLATFORMS for word in ("--platform", name)]
    subprocess.run(
        [
            sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:",
            "--disable-pip-version-check", "--implementation", "cp", "--python-version", python,
            *platforms, "-c", ROOT / "constraints.txt", "-d", folder, *MISSING,
        ],
        check=True,
    )  # fmt: skip


def tracked_bytes() -> int:
    """Size of the repository's files."""
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    paths = [ROOT / name for name in names.split("\0") if name]
    return sum(path.stat().st_size for path in paths if path.is_file())


def main() -> int:
    """Download, and say the command; 1 if all together is too large."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / ".wheels", help="folder of the wheels")
    parser.add_argument("--python", default="3.12", help="version of Python over there")
    arguments = parser.parse_args()
    download(arguments.out, arguments.python)
    wheels = sorted(arguments.out.glob("*.whl"))
    size = tracked_bytes() + sum(wheel.stat().st_size for wheel in wheels)
    for wheel in wheels:
        print(f"{wheel.stat().st_size / 1e6:6.1f} MB  {wheel.name}")
    print(f"{size / 1e6:6.1f} MB  with the repository, of {LIMIT / 1e6:.1f} MB\n")
    shown = arguments.out.resolve()
    shown = shown.relative_to(ROOT) if shown.is_relative_to(ROOT) else shown
    print(COMMAND.format(wheels=shown))
    return int(size > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
