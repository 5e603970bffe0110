// A score as data of the piano roll, as export/pianoroll.py writes it, with one instrument a track.

import { instrumentName } from "./instruments.js";
import { TempoMap, barLines, beatsOf, lastNoteEnd } from "./timing.js";

/** @import { RollData } from "../../playback/static/types.d.ts" */
/** @import { Score, Track } from "./types.d.ts" */

/** Return the program of a track, -1 for drums. @param {Pick<Track, "program" | "isDrum">} track */
export function programOf({ program, isDrum }) {
  return isDrum ? -1 : program;
}

/**
 * @param {Score} score
 * @param {{promptEnd: number, end: number}} ticks of the first new bar and of the last bar line
 * @returns {RollData}
 */
export function rollData(score, { promptEnd, end }) {
  const map = new TempoMap(score);
  /** @param {number[]} ticks */
  const timed = (ticks) => ({ ticks, seconds: ticks.map((tick) => map.secondsAt(tick)) });
  const notes = score.tracks.flatMap((track, instrument) => track.notes.map((note) => ({ ...note, instrument })));
  notes.sort((a, b) => a.tick - b.tick || a.instrument - b.instrument || a.pitch - b.pitch);
  const lines = barLines(score, Math.max(end, lastNoteEnd(score)));
  return {
    bars: timed(lines),
    beats: beatsOf(score, lines),
    clock: timed(map.ticks),
    prompt_end_tick: promptEnd,
    instruments: score.tracks.map((track, i) => ({ program: programOf(track), track: i, ...namesOf(score, i) })),
    notes: {
      start: notes.map(({ tick }) => tick),
      length: notes.map(({ duration }) => duration),
      key: notes.map(({ pitch }) => pitch),
      loudness: notes.map(({ velocity }) => velocity),
      instrument: notes.map(({ instrument }) => instrument),
      sure: notes.map(({ sure }) => sure ?? -1),
    },
    remark: "",
  };
}

/** Return the name of a track and, if it differs, its instrument. @param {Score} score @param {number} index */
function namesOf({ tracks }, index) {
  const instrument = instrumentName(programOf(tracks[index]));
  const own = tracks[index].name || instrument;
  const before = tracks.slice(0, index).filter(({ name }) => name === tracks[index].name).length;
  return { name: before ? `${own} (${before + 1})` : own, detail: own === instrument ? "" : instrument };
}
