/* Kind, value and unit of each token; only for the files of this folder. */
#ifndef MUSICLSTM_TOKEN_TABLE_H
#define MUSICLSTM_TOKEN_TABLE_H

#include "core.h"

#include <stdbool.h>
#include <string.h>

enum { OTHER, BAR, TIME_SIGNATURE, TEMPO, PROGRAM, POSITION, PITCH, DRUM, DURATION, KINDS };

enum { NONE = -1, OUT_OF_RANGE = -2, DRUMS = -1, MAX_METER = 8191 };

struct TokenTable {
    int32_t size, bar, eos;         /* NONE without one */
    int32_t first[KINDS], count[KINDS]; /* first id of each kind, and number of its ids */
    uint8_t kind[MAX_VOCAB], unit[MAX_VOCAB];
    int16_t value[MAX_VOCAB];
    int16_t pitch_ids[PITCHES], drum_ids[PITCHES], position_ids[POSITIONS], program_ids[PROGRAMS];
};

/* Returns CORE_OK, or the error of ids from outside. */
int32_t check_ids(const TokenTable *table, const int32_t *ids, int64_t count);

static inline int32_t pitch_id(const TokenTable *table, int32_t pitch, bool drums) {
    if (pitch < 0 || pitch >= PITCHES) return OUT_OF_RANGE;
    return drums ? table->drum_ids[pitch] : table->pitch_ids[pitch];
}

static inline int32_t position_id(const TokenTable *table, int64_t offset, int32_t unit) {
    if (offset % unit || offset / unit >= POSITIONS) return NONE;
    return table->position_ids[offset / unit];
}

static inline int32_t program_id(const TokenTable *table, int32_t program) {
    return table->program_ids[program - DRUMS];
}

static inline bool within(int32_t value, int32_t low, int32_t high) {
    return low <= value && value <= high;
}

#endif
