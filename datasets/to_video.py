"""Put translated frames back into a video, at the rate and with the sound of the video that they are from.

    python datasets/from_video.py drive.mp4 --out frames --every 1 --differ 0
    python test.py --dataroot frames --name night --num_test inf
    python datasets/to_video.py results/night/test_latest/images/fake_B --like drive.mp4 --out night.mp4

Numbers at the end of the names are places in the video, as from_video.py writes them: a frame is shown until the next
one begins. It needs ffmpeg on the PATH, or the package imageio-ffmpeg.
"""

import itertools
import math
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `python datasets/to_video.py` sees the clone

from datasets.building import picture
from datasets.from_video import find_ffmpeg, reason
from options import REQUIRED, flag, parse_flags
from util.errors import UserError, run_program
from util.image_folders import find_images
from util.words import counted


@dataclass(frozen=True, kw_only=True)
class FrameFlags:
    """Make a video of a folder of frames."""

    frames: Path = flag(REQUIRED, "the folder of frames", positional=True)
    like: Path = flag(REQUIRED, "the video that they are from")
    out: Path = flag(REQUIRED, "a file that does not exist; its suffix chooses the format")
    start: float | None = flag(None, "second of --like that the first frame is from, as in from_video.py", minimum=0,
                               unset="the beginning")
    rate: float | None = flag(None, "frames in a second", above=0,
                              unset="that of --like, divided by the step of the numbers in the names")


class Source(NamedTuple):
    """The video that the frames are from."""

    path: Path
    rate: Fraction
    """Frames in a second."""
    has_sound: bool


def main(argv: Sequence[str] | None = None) -> None:
    """Read the flags and write the video."""
    flags = parse_flags(FrameFlags, "to_video.py", argv)
    if not flags.like.is_file():
        raise UserError(f"--like: there is no file {flags.like}")
    if flags.out.exists():
        raise UserError(f"{flags.out} exists already; remove it or choose another --out")
    paths, step = shown_frames(find_images(flags.frames, "the folder of frames"))
    ffmpeg = find_ffmpeg()
    source = probe(ffmpeg, flags.like, typed=flags.rate)
    rate = source.rate if flags.rate else source.rate / step
    flags.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=flags.out.parent, prefix=f".{flags.out.stem}.") as folder:
        made = Path(folder) / f"video{flags.out.suffix}"  # ffmpeg chooses the format by the suffix
        sound = sound_arguments(source, flags.start or 0, made) if source.has_sound else []
        encode(ffmpeg, paths, rate, sound, made)
        made.rename(flags.out)
    heard = f"the sound of {flags.like}" if source.has_sound else "no sound"
    print(f"{flags.out}: {counted(len(paths), 'frame')} at {float(rate):.5g} a second, {heard}")


def shown_frames(paths: Sequence[Path]) -> tuple[list[Path], int]:
    """Order frames by the numbers at the end of their names, and repeat each until the next one begins.

    Without numbers, or with one that occurs twice, they follow in the order given.

    Returns:
        The frames to show, and the step between their numbers.
    """
    found = [re.search(r"\d+$", path.stem) for path in paths]
    numbers = [int(match[0]) for match in found if match]
    if not len(paths) == len(numbers) == len(set(numbers)) > 1:
        return list(paths), 1
    ordered = sorted(zip(numbers, paths, strict=True))
    gaps = [after - before for (before, _), (after, _) in itertools.pairwise(ordered)]
    step = math.gcd(*gaps)
    shown = [path for (_, path), gap in zip(ordered, gaps, strict=False) for _ in range(gap // step)]
    return [*shown, ordered[-1][1]], step


def probe(ffmpeg: str, video: Path, typed: float | None = None) -> Source:
    """Read the rate of a video, unless it is ``typed``, and whether it has sound.

    Raises:
        UserError: ffmpeg cannot read it, or finds no rate.
    """
    command = [ffmpeg, "-nostdin", "-hide_banner", "-protocol_whitelist", "file,pipe", "-i", f"file:{video}"]
    said = subprocess.run(command, capture_output=True, check=False).stderr
    streams = re.findall(r"^ *Stream #.*$", said.decode(errors="replace"), re.MULTILINE)
    pictures = [stream for stream in streams if "Video:" in stream]
    if not pictures:
        raise UserError(f"{video}: ffmpeg cannot read this video ({reason(said)})")
    rate = re.search(r"([\d.]+) fps", pictures[0]) or re.search(r"([\d.]+) tbr", pictures[0])
    if typed is not None:
        exact = Fraction(typed).limit_denominator(1001)
    elif rate:
        exact = exact_rate(float(rate[1]))
    else:
        raise UserError(f"{video} does not say how many frames a second has: add --rate")
    return Source(video, exact, any("Audio:" in stream for stream in streams))


def exact_rate(rounded: float) -> Fraction:
    """Return the rate that ffmpeg prints with two digits: 29.97 is 30000/1001."""
    whole = round(rounded * 1.001)
    if abs(whole / 1.001 - rounded) < 0.006:
        return Fraction(whole * 1000, 1001)
    return Fraction(rounded).limit_denominator(1000)


def sound_arguments(source: Source, start: float, out: Path) -> list[str]:
    """Return ffmpeg's arguments for the sound of a video, from second ``start`` on."""
    copied = ["-c:a", "copy"] if source.path.suffix.lower() == out.suffix.lower() else []
    return ["-protocol_whitelist", "file,pipe", "-ss", f"{start:g}", "-i", f"file:{source.path}", "-map", "1:a:0",
            *copied]


def encode(ffmpeg: str, paths: Sequence[Path], rate: Fraction, sound: Sequence[str], out: Path) -> None:
    """Write frames, all of one size, and sound as long as they last.

    Raises:
        UserError: frames differ in size or cannot be read, or ffmpeg cannot write ``out``; with its reason.
    """
    first = picture(paths[0])
    command = [
        ffmpeg, "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{first.width}x{first.height}",
        "-r", str(rate), "-i", "-", *sound, "-map", "0:v",
        "-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p",  # which players take, and which has even sides
        "-t", f"{float(len(paths) / rate):.6f}", f"file:{out}"]
    with tempfile.TemporaryFile() as said, subprocess.Popen(command, stdin=subprocess.PIPE, stderr=said) as process:
        assert process.stdin is not None
        try:
            with suppress(BrokenPipeError), process.stdin:  # ffmpeg ended early, and says why
                for pixels in raw_frames(paths, first.size):
                    process.stdin.write(pixels)
        except BaseException:
            process.kill()
            raise
        if process.wait():
            said.seek(0)
            raise UserError(f"--out: ffmpeg cannot write this kind of video ({reason(said.read())})")


def raw_frames(paths: Sequence[Path], size: tuple[int, int]) -> Iterator[bytes]:
    """Yield the pixels of frames of ``size`` (width, height).

    Raises:
        UserError: a frame has another size, or cannot be read.
    """
    last: tuple[Path, bytes] | None = None
    for path in paths:
        if last is None or last[0] != path:
            frame = picture(path)
            if frame.size != size:
                raise UserError(f"{path} has {frame.width}x{frame.height} pixels, but the first frame {size[0]}x"
                                f"{size[1]}: a video has one size")
            last = path, frame.tobytes()
        yield last[1]


if __name__ == "__main__":
    run_program("to_video.py", main)
