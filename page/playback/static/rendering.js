// The chunks of one rendering of a stream, as far as they are known. Positions are frames.

import { decode } from "./audio_context.js";

/** @import { Chunk, ChunkData, FrameRange } from "./types.d.ts" */

/** @param {FrameRange} chunk @param {FrameRange[]} ranges */
function overlaps(chunk, ranges) {
  return ranges.some(({ start, end }) => chunk.start < end && chunk.end > start);
}

export class Rendering {
  /** @param {string} stream @param {number} number @param {typeof decode} decoder */
  constructor(stream, number, decoder = decode) {
    this.stream = stream;
    this.number = number;
    this.decoder = decoder;
    this.complete = false;
    /** @type {Chunk[]} */
    this.chunks = [];
  }

  /** End of the last known chunk. */
  get end() {
    return this.chunks.at(-1)?.end ?? 0;
  }

  /** Add the chunks of an update. @param {[number, number][]} chunks @param {boolean} complete */
  add(chunks, complete) {
    const known = new Set(this.chunks.map(({ start }) => start));
    for (const [start, frames] of chunks) {
      if (known.has(start)) continue;
      this.chunks.push({ start, end: start + frames, state: "absent", buffer: null });
    }
    this.chunks.sort((a, b) => a.start - b.start);
    this.complete ||= complete;
  }

  /**
   * Decode a chunk, unless it is known already or outside the ranges to keep.
   * @param {number} start @param {ChunkData} data @param {FrameRange[]} ranges
   */
  async put(start, data, ranges) {
    const chunk = this.chunks.find((each) => each.start === start);
    if (!chunk || chunk.state !== "absent" || !overlaps(chunk, ranges)) return;
    chunk.state = "decoding";
    try {
      chunk.buffer = await this.decoder(data);
      chunk.state = "ready";
    } catch {
      chunk.state = "broken"; // played as silence
    }
  }

  /** Forget the end and all chunks that reach beyond a frame: other music will follow there. @param {number} frame */
  truncate(frame) {
    this.chunks = this.chunks.filter(({ end }) => end <= frame);
    this.complete = false;
  }

  /** Return the chunk at a position. @param {number} frame */
  at(frame) {
    return this.chunks.find((chunk) => chunk.start <= frame && frame < chunk.end);
  }

  /** Return whether a position can be played. @param {number} frame */
  isReady(frame) {
    const state = this.at(frame)?.state;
    return state === "ready" || state === "broken";
  }

  /** Return whether playback at a position can change to this rendering. @param {number} frame */
  canTakeOver(frame) {
    return this.isReady(frame) || (this.complete && frame >= this.end);
  }

  /**
   * Return the starts of absent chunks in the ranges to keep, those at or after a position first.
   * @param {FrameRange[]} ranges @param {number} frame
   */
  missing(ranges, frame) {
    const absent = this.chunks.filter(
      (chunk) => chunk.state === "absent" && overlaps(chunk, ranges),
    );
    const ahead = absent.filter((chunk) => chunk.end > frame);
    return [...ahead, ...absent.filter((chunk) => chunk.end <= frame)].map(({ start }) => start);
  }

  /** Free decoded chunks outside the ranges to keep. @param {FrameRange[]} ranges */
  free(ranges) {
    for (const chunk of this.chunks) {
      if (chunk.state !== "ready" || overlaps(chunk, ranges)) continue;
      chunk.state = "absent";
      chunk.buffer = null;
    }
  }
}
