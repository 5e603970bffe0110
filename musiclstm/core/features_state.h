/* State of the step features; only for the features*.c files. */
#ifndef MUSICLSTM_FEATURES_STATE_H
#define MUSICLSTM_FEATURES_STATE_H

#include "token_table.h"

enum {
    HORIZON = 16384,
    RING = HORIZON + 256, /* of tokens; what is compared goes seven back from the horizon */
    /* A note takes two tokens: half as many count, and contexts reach as far back again. */
    NOTE_RING = HORIZON + 256,
    NOTE_LINKS = HORIZON / 2,
    TOKEN_BUCKET_BITS = 13,
    NOTE_BUCKET_BITS = 12,
    MAX_PARTS = 64,
    MAX_HELD = 1024,
    FARTHEST_END = 255,
    MOST_NOTES = 16,
    MOST_ONSETS = 64,
};

typedef struct {
    int64_t start;
    int32_t index, bar, length, unit, time_signature, kind, slot, program, number, position, pitch;
    int32_t parts;            /* seen so far, also those that share the last slot */
    int16_t programs[MAX_PARTS];
    uint8_t blocks[PROGRAMS]; /* of each program in this bar, at most MAX_TRACKS */
    uint8_t slots[PROGRAMS][MAX_TRACKS]; /* plus one; 0 for parts that were not seen */
} Cursor;

typedef struct {
    int32_t count, later; /* later: index in `order` of the first part after the current one */
    int32_t following, age;
    int32_t last_bar[MAX_PARTS]; /* plus one; 0 for parts that never played */
    uint8_t order[MAX_PARTS];
} PartOrder;

typedef struct {
    uint32_t onset; /* modulo 2^32: within the horizon differences fit */
    int32_t index, distance;
    int16_t duration, step, place; /* place: from the bar line */
    uint16_t before, after;        /* notes to the part's last and next one; 0 without one */
    uint8_t pitch, owner;          /* owner: slot, plus DRUM_OWNER for drums */
} PartNote;

enum { DRUM_OWNER = 64 };

typedef struct {
    int32_t head[1 << TOKEN_BUCKET_BITS]; /* index plus one; 0 for an empty bucket */
    uint16_t link[HORIZON];               /* tokens to the next one of the bucket; 0 at the end */
} TokenChain;

typedef struct {
    int32_t head[1 << NOTE_BUCKET_BITS];
    uint16_t link[NOTE_LINKS];
} NoteChain;

typedef struct {
    uint64_t bits[POSITIONS / 64];
} Onsets;

typedef struct {
    int32_t model, count;
    int32_t bars[MAX_PARTS]; /* last bar in which the part played, plus one; 0 without one */
    Onsets now[MAX_PARTS], before[MAX_PARTS];
    uint8_t written[MAX_PARTS];
} Homorhythm;

typedef struct {
    int64_t onset, end;
    int32_t pitch, slot;
} HeldNote;

typedef struct {
    int32_t held_count, chord_slot, chord_lowest, chord_highest, chord_last; /* NONE without one */
    int32_t sounding;
    int64_t ends[MAX_PARTS];
    uint8_t has_end[MAX_PARTS];
    int8_t lowest[MAX_PARTS], highest[MAX_PARTS]; /* of the last chord */
    float recent[12], piece[12];
    float part[MAX_PARTS][PITCHES];
    float onsets[MAX_PARTS][RHYTHM_STEPS], durations[MAX_PARTS][RHYTHM_STEPS];
    HeldNote held[MAX_HELD];
} Context;

typedef struct {
    int16_t more, equal;
} SizeCounts;

typedef struct {
    int32_t slot, notes, onsets; /* slot: NONE outside of blocks */
    SizeCounts of_onsets[MAX_PARTS][MOST_NOTES], of_bars[MAX_PARTS][MOST_ONSETS];
} Sizes;

typedef struct {
    int32_t proposal, run;
    uint16_t shares[KINDS];
} CandidateAccuracy;

struct FeatureState {
    Cursor cursor;
    PartOrder part_order;
    Homorhythm homorhythm;
    CandidateAccuracy accuracy[CANDIDATES];
    int32_t last_pitch, notes;
    int32_t last_note[MAX_PARTS];  /* plus one; 0 without one */
    int32_t matches[2][MAX_PARTS]; /* the same; of follower and imitation */
    Context context;
    Sizes sizes;
    int16_t ids[RING], symbols[RING];
    int8_t pitches[RING]; /* last pitch after each token */
    PartNote note[NOTE_RING];
    TokenChain exact[2], transposed[2];
    NoteChain follower[4], imitation[3];
};

/* Inline functions */

static inline bool is_drums(const Cursor *c) { return c->slot != NONE && c->program == DRUMS; }

static inline int64_t now(const Cursor *c) {
    return c->start + (int64_t)(c->position > 0 ? c->position : 0) * c->unit;
}

static inline int64_t bar_end(const Cursor *c) { return c->start + c->length; }

/* A note, if it is not too far back. */
static inline const PartNote *live_note(const FeatureState *s, int32_t place) {
    if (place < 0 || s->notes - place > NOTE_RING) return NULL;
    const PartNote *note = &s->note[(uint32_t)place % NOTE_RING];
    return note->index >= s->cursor.index - HORIZON ? note : NULL;
}

static inline const PartNote *last_note(const FeatureState *s, int32_t slot) {
    return live_note(s, s->last_note[slot] - 1);
}

static inline int32_t between(uint32_t onset, uint32_t later) { return (int32_t)(later - onset); }

/* features.c: read one token; write the features after it */
void features_push(FeatureState *s, const TokenTable *table, int32_t token);
void features_write(const FeatureState *s, const TokenTable *table, const FeatureOutputs *out,
                    int64_t step);

/* features_matches.c */
void features_store_token(FeatureState *s, const TokenTable *table, int32_t token);
int32_t features_propose_exact(FeatureState *s);
int32_t features_propose_transposed(FeatureState *s, const TokenTable *table);
void features_add_note(FeatureState *s, int32_t duration);
void features_match_notes(FeatureState *s);

/* features_parts.c */
void features_update_part_order(FeatureState *s);
int32_t features_propose_part(const FeatureState *s, const TokenTable *table);
int32_t features_propose_notes(const FeatureState *s, const TokenTable *table, bool imitation);
void features_update_homorhythm(FeatureState *s);
int32_t features_propose_rhythm(const FeatureState *s, const TokenTable *table);

#endif
