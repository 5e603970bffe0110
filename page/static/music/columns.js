// Scores as columns of integers, as the engine reads them.

import { heldDurations } from "./pedal.js";
import { programOf } from "./roll.js";

/** @import { ScoreColumns } from "../engine/types.d.ts" */
/** @import { Score } from "./types.d.ts" */

/** Notes last as long as the sustain pedal holds them. @param {Score} score @returns {ScoreColumns} */
export function scoreColumns({ ticksPerQuarter, tracks, tempos, meters }) {
  return {
    ticksPerQuarter,
    programs: Int32Array.from(tracks, programOf),
    notes: Int32Array.from(
      tracks.flatMap((track, index) => {
        const durations = heldDurations(track);
        return track.notes.flatMap(({ tick, pitch, velocity }, i) => [tick, durations[i], pitch, velocity, index]);
      }),
    ),
    tempos: Int32Array.from(tempos.flatMap(({ tick, mspq }) => [tick, Math.round(mspq)])),
    meters: Int32Array.from(meters.flatMap(({ tick, numerator, denominator }) => [tick, numerator, denominator])),
  };
}
