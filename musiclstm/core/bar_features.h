/* State of the features of bars; only for bar_features.c. */
#ifndef MUSICLSTM_BAR_FEATURES_H
#define MUSICLSTM_BAR_FEATURES_H

#include "token_table.h"

enum {
    PROMPT_BARS = 8,   /* of the prompt, the last ones, that new bars are compared with */
    NEW_BARS = 16,     /* new bars, the last ones, that are compared with the prompt */
    CONTEXT_RING = 32, /* bars, the last ones, that a bar may repeat */
    MOST_BAR_NOTES = 512, /* further notes of a bar do not count */
    TIME_BINS = 19,
    COUNT_BINS = 13,
    POSITION_BINS = 64, /* sixteenths; the last one is open */
    LONGEST_BAR = 1024, /* in 1/48 quarters; later notes do not count */
};

typedef struct {
    int16_t onset; /* from the bar line, in 1/48 quarters */
    int32_t duration;
    uint8_t pitch, program, track;
} BarNote;

typedef struct {
    int32_t length, longest; /* of the bar and of its longest note, in 1/48 quarters */
    int32_t note_count, pitched, key_count;
    int32_t pairs, clashes;
    int32_t top[2]; /* highest pitch that begins in each half; NONE without one */
    int32_t classes[CLASSES], pitches[PITCHES], durations[TIME_BINS], positions[POSITION_BINS];
    uint64_t onsets[LONGEST_BAR / 64];
    uint8_t plays[PROGRAMS];          /* a bit for each track */
    uint32_t keys[MOST_BAR_NOTES];    /* onset in 1/12 quarters, pitch and program; sorted */
    BarNote notes[MOST_BAR_NOTES];
} Bar;

typedef struct {
    int32_t classes[CLASSES], pitches[PITCHES], durations[TIME_BINS], positions[POSITION_BINS];
    int32_t intervals[TIME_BINS], bar_notes[COUNT_BINS];
    int32_t notes, bars;
} Histograms;

typedef struct {
    Histograms sums;
    int32_t part_bars[PROGRAMS][MAX_TRACKS], part_notes[PROGRAMS][MAX_TRACKS];
    uint8_t lowest[PROGRAMS][MAX_TRACKS], highest[PROGRAMS][MAX_TRACKS];
    int32_t twice_median_top; /* NONE without pitched notes */
    int32_t pairs, clashes;
    int32_t bar_positions[PROMPT_BARS][POSITION_BINS];
} PromptStats;

struct BarContext {
    int32_t count, added; /* bars so far, and those after the prompt */
    PromptStats prompt;
    Bar bars[CONTEXT_RING], candidate;
};

#endif
