/* What the grammar*.c files share. */
#ifndef MUSICLSTM_GRAMMAR_H
#define MUSICLSTM_GRAMMAR_H

#include "grammar_state.h"

enum { BETWEEN_BARS = 0, ENDED = -1, DRUM_PROGRAM = PROGRAMS - 1, BEAT = 12 };

static inline int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }

static inline int32_t most(int32_t a, int32_t b) { return a > b ? a : b; }

static inline int32_t pitches_above(const uint64_t *pitches, int32_t pitch) {
    int32_t count = 0;
    for (int32_t word = 0; word < 2; word++) {
        int32_t below = pitch + 1 - 64 * word; /* bits of the word to leave out */
        if (below < 64) count += __builtin_popcountll(pitches[word] >> most(below, 0));
    }
    return count;
}

static inline int32_t pitches_of(const GrammarState *g, int32_t program) {
    return program == NONE ? 0 : pitches_above(g->rules.pitches[program], NONE);
}

static inline int32_t tracks_of(const GrammarState *g, int32_t program) {
    if (g->has_limits) return g->kept[program] + g->added[program];
    if (program == DRUM_PROGRAM) return 1;
    return g->tracks[program] ? g->tracks[program] : g->other_tracks;
}

/* Blocks of a program with notes that may still follow in this bar. */
static inline int32_t blocks_left(const GrammarState *g, int32_t program) {
    if (g->drums_are_last && g->blocks[DRUM_PROGRAM] && !g->kept[DRUM_PROGRAM]) return 0;
    return most(tracks_of(g, program) - most(g->blocks[program], g->kept[program]), 0);
}

static inline int32_t program_token(const TokenTable *table, int32_t program) {
    return program_id(table, program == DRUM_PROGRAM ? DRUMS : program);
}

/* Required tracks of a program after the current block. */
static inline int32_t required_left(const GrammarState *g, int32_t program) {
    return __builtin_popcount((uint32_t)g->required[program] >> g->blocks[program]);
}

/* Returns how many notes can start with so many pitches at each position. */
static inline int32_t max_notes(const GrammarState *g, int32_t pitches) {
    if (pitches >= g->rules.max_at_once) return g->free_onsets_sum;
    int32_t sum = 0;
    for (int32_t i = 0; i < g->length; i++) sum += least(g->free_onsets[i], pitches);
    return sum;
}

/* Whether the first onset of the bar is missing and must be off the beat. */
static inline bool needs_first(const GrammarState *g) {
    return g->must_be_off_beat && !g->notes_started;
}

/* Writes how many more notes may sound at each position, (size). */
void grammar_free_voices(const GrammarState *g, int32_t size, int32_t unit, int32_t *voices);

#endif
