// Notes of a track.

/**
 * End notes at the next later onset of their pitch; return copies by time, by pitch, then the loudest first.
 * @template {{tick: number, duration: number, pitch: number, velocity: number}} T
 * @param {T[]} notes @returns {T[]}
 */
export function trimmed(notes) {
  const sorted = [...notes].sort((a, b) => a.tick - b.tick || a.pitch - b.pitch || b.velocity - a.velocity);
  const onsets = nextOnsets(sorted);
  return sorted.map((note, i) => ({ ...note, duration: Math.min(note.duration, onsets[i] - note.tick) }));
}

/** Return the next later onset of each note's pitch, Infinity for the last. @param {{tick: number, pitch: number}[]} notes by time */
export function nextOnsets(notes) {
  /** @type {Map<number, {tick: number, later: number}>} */
  const following = new Map(); // by pitch
  const found = new Array(notes.length).fill(Infinity);
  for (let i = notes.length - 1; i >= 0; i--) {
    const { tick, pitch } = notes[i];
    const next = following.get(pitch) ?? { tick: Infinity, later: Infinity };
    found[i] = next.tick > tick ? next.tick : next.later;
    following.set(pitch, { tick, later: found[i] });
  }
  return found;
}

/** Round to the nearest integer, halves to the even one. @param {number} value */
export function rint(value) {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 ? rounded - 1 : rounded;
}
