"""Carrying the sound of one file over to another: packets are copied, or encoded as AAC where they would not play."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import av.error
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet

from reenact_zoo.types import InputError
from reenact_zoo.video._container import open_container

# What players expect inside MP4; FFmpeg would also write raw PCM or Vorbis there, which few of them play.
MP4_CODECS = frozenset({"aac", "mp3", "mp3float", "ac3", "eac3", "opus", "libopus", "alac", "flac"})
AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)


class SoundCopier:
    """Feeds the first sound track of ``path`` into ``output``, in step with the pictures, and cuts it at their end.

    The cut falls on a packet border (21 ms for AAC at 48 kHz). Nothing is buffered beyond one packet.

    Args:
        path: file with pictures and sound; a file without sound is not an error, see ``present``.
        output: container whose header is not yet written.
        start: time of the first picture in the clock of ``path``; it becomes zero.
        copy_any: whether the container holds any codec (Matroska).
    """

    def __init__(self, path: Path, output: OutputContainer, start: Fraction, copy_any: bool = False) -> None:
        self._path, self._output, self._start = path, output, start
        self._input, _ = open_container(path)
        self._source = next((s for s in self._input.streams.audio if s.codec_context is not None), None)
        self._packets: Iterator[tuple[Fraction, Packet]] = iter(())
        self._waiting: tuple[Fraction, Packet] | None = None
        if self._source is not None:
            copied = copy_any or self._source.codec_context.name in MP4_CODECS
            self._packets = self._copied(self._source) if copied else self._encoded(self._source)

    @property
    def present(self) -> bool:
        """Whether there is sound."""
        return self._source is not None

    def advance(self, until: Fraction) -> None:
        """Write every packet that begins before ``until``, in seconds since the first picture."""
        try:
            while True:
                if self._waiting is None:
                    self._waiting = next(self._packets, None)
                if self._waiting is None or self._waiting[0] >= until:
                    return
                self._output.mux(self._waiting[1])
                self._waiting = None
        except av.error.InvalidDataError as error:
            raise InputError(
                f"the sound of '{self._path}' is damaged; leave it out with 'ffmpeg -i IN -an -c copy OUT.mp4'"
            ) from error

    def close(self) -> None:
        """Close the input; packets not yet written are the part that is cut off."""
        self._packets = iter(())
        self._input.close()

    def _copied(self, source: AudioStream) -> Iterator[tuple[Fraction, Packet]]:
        target = self._output.add_stream_from_template(source)
        return self._shifted(source, target)

    def _shifted(self, source: AudioStream, target: AudioStream) -> Iterator[tuple[Fraction, Packet]]:
        shift = round(self._start / source.time_base) if source.time_base else 0
        for packet in self._input.demux(source):
            if packet.size == 0 or packet.pts is None:
                continue
            packet.pts -= shift
            packet.dts = packet.pts if packet.dts is None else packet.dts - shift
            time = packet.pts * packet.time_base
            # Without a shift a packet before zero is the encoder's run-in, which decoders need and the edit list hides;
            # with one it is sound older than the first picture.
            if shift and time + (packet.duration or 0) * packet.time_base <= 0:
                continue
            packet.stream = target
            yield time, packet

    def _encoded(self, source: AudioStream) -> Iterator[tuple[Fraction, Packet]]:
        rate = source.codec_context.sample_rate if source.codec_context.sample_rate in AAC_RATES else 48000
        layout = "mono" if source.codec_context.channels == 1 else "stereo"
        target = self._output.add_stream("aac", rate=rate)
        target.codec_context.layout = layout
        return self._encoding(source, target, layout, rate)

    def _encoding(
        self, source: AudioStream, target: AudioStream, layout: str, rate: int
    ) -> Iterator[tuple[Fraction, Packet]]:
        resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate)
        for frame in self._input.decode(source):
            if frame.pts is not None and frame.time_base:
                time = frame.pts * frame.time_base - self._start
                if time < 0:
                    continue
                frame.pts = round(time / frame.time_base)
            for resampled in resampler.resample(frame):
                yield from self._timed(target.encode(resampled))
        for resampled in resampler.resample(None):
            yield from self._timed(target.encode(resampled))
        yield from self._timed(target.encode(None))

    @staticmethod
    def _timed(packets: list[Packet]) -> Iterator[tuple[Fraction, Packet]]:
        for packet in packets:
            yield (packet.pts or 0) * packet.time_base, packet
