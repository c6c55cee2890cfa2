"""Make a folder of frames of a video: every N-th, without frames that hardly differ from the one before.

    python datasets/from_video.py drive.mp4 --out frames --every 15
    python datasets/from_video.py drive.mp4 --out datasets/mine/testA --start 600 --end 660

It needs ffmpeg on the PATH, or the package imageio-ffmpeg. Neighbouring frames are similar: take training and test
images from different parts of a video or from different videos.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `python datasets/from_video.py` sees the clone

from datasets.building import image_size, save_png, whole_folder
from options import REQUIRED, flag, parse_flags
from util.errors import UserError, run_program
from util.words import counted

SMALL = (32, 32)
"""Size for the comparison of two frames; changes of single pixels by the codec vanish."""


@dataclass(frozen=True, kw_only=True)
class VideoFlags:
    """Make a folder of the frames of a video."""

    video: Path = flag(REQUIRED, "the file", positional=True)
    out: Path = flag(REQUIRED, "a folder that does not exist")
    every: int = flag(10, "take every N-th frame", minimum=1)
    differ: float = flag(2.0, "leave out a frame whose grey levels, of 256, differ on average by less than this from "
                         "those of the last frame taken; 0: none", minimum=0)
    start: float | None = flag(None, "first second", minimum=0, unset="the beginning")
    end: float | None = flag(None, "last second", minimum=0, unset="the end")
    size: tuple[int, int] | None = flag(None, "scale frames to this size", parse=image_size,
                                        metavar="WIDTH[xHEIGHT]", unset="their own size")


def main(argv: Sequence[str] | None = None) -> None:
    """Read the flags and write the frames."""
    flags = parse_flags(VideoFlags, "from_video.py", argv)
    if not flags.video.is_file():
        raise UserError(f"there is no file {flags.video}")
    command = frames_command(find_ffmpeg(), flags.video, flags.every, flags.start, flags.end)
    taken, seen, last = 0, 0, None
    with whole_folder(flags.out) as folder:
        for frame in decode(command, flags.video):
            now = np.asarray(frame.convert("L").resize(SMALL, Image.Resampling.BOX), dtype=np.float32)
            if last is None or float(np.abs(now - last).mean()) >= flags.differ:
                scaled = frame.resize(flags.size, Image.Resampling.BICUBIC) if flags.size else frame
                save_png(scaled, folder / f"{flags.video.stem}_{seen * flags.every:06d}.png")
                taken, last = taken + 1, now
            seen += 1
            if seen % 100 == 0:
                print(f"{seen} frames read, {taken} taken")
        if not taken:
            raise UserError(f"{flags.video} has no frames between --start and --end")
    print(f"{flags.out}: {taken} of {counted(seen, 'frame')} taken, every {flags.every} of the video")


def find_ffmpeg() -> str:
    """Return the path of the program ffmpeg.

    Raises:
        UserError: there is none.
    """
    if found := shutil.which("ffmpeg"):
        return found
    try:
        import imageio_ffmpeg  # noqa: PLC0415 - optional
    except ImportError:
        raise UserError("videos need ffmpeg: apt-get install ffmpeg, or pip install imageio-ffmpeg") from None
    return str(imageio_ffmpeg.get_ffmpeg_exe())


def frames_command(ffmpeg: str, video: Path, every: int, start: float | None, end: float | None) -> list[str]:
    """Build the command that writes every N-th frame, as PPM, to its standard output."""
    part = [*(["-ss", f"{start:g}"] if start is not None else []), *(["-to", f"{end:g}"] if end is not None else [])]
    # Only a local file, nothing that a playlist in it names. New time stamps, or frames are repeated to fill gaps.
    return [ffmpeg, "-nostdin", "-v", "error", "-protocol_whitelist", "file,pipe", *part, "-i", f"file:{video}",
            "-map", "0:v:0", "-vf", rf"select=not(mod(n\,{every})),setpts=N/FRAME_RATE/TB",
            "-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "-"]


def decode(command: Sequence[str], video: Path) -> Iterator[Image.Image]:
    """Yield the frames that ``command`` writes.

    Raises:
        UserError: ffmpeg cannot read the file; with its reason.
    """
    with tempfile.TemporaryFile() as said, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said) as process:
        assert process.stdout is not None
        try:
            while (pixels := read_ppm(process.stdout)) is not None:
                yield Image.fromarray(pixels)
        finally:
            process.stdout.close()
            process.wait()
        if process.returncode:
            said.seek(0)
            raise UserError(f"{video}: ffmpeg cannot read this video ({reason(said.read())})")


def reason(said: bytes) -> str:
    """Return the last line that ffmpeg has said."""
    return (said.decode(errors="replace").strip().splitlines() or ["it gives no reason"])[-1]


def read_ppm(stream: IO[bytes]) -> NDArray[np.uint8] | None:
    """Read the next image, [H, W, 3], of a stream of binary PPM images; None at the end or if it is incomplete."""
    if stream.readline().strip() != b"P6":
        return None
    width, height = map(int, stream.readline().split())
    stream.readline()  # the largest value, 255
    content = stream.read(width * height * 3)
    if len(content) < width * height * 3:
        return None
    return np.frombuffer(content, np.uint8).reshape(height, width, 3)


if __name__ == "__main__":
    run_program("from_video.py", main)
