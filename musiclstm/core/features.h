/* Step features: the compiled form of model/step_features.py, which is their definition.
 *
 * States and tables are flat: they hold no pointers, so a copy is a memcpy.
 * No memory is allocated and nothing is global; two threads may work on two states at once.
 */
#ifndef MUSICLSTM_FEATURES_H
#define MUSICLSTM_FEATURES_H

#include <stdint.h>

typedef struct FeatureTable FeatureTable; /* kind and value of each token */
typedef struct FeatureState FeatureState; /* one stream */

/* Where to write the features after each token: arrays of (steps, ...), or NULL to skip one. */
typedef struct {
    int16_t *candidates; /* (steps, 6) */
    uint8_t *runs;       /* (steps, 6) */
    uint8_t *accuracy;   /* (steps, 6) */
    uint8_t *parts;      /* (steps, 4) */
    int8_t *pitches;     /* (steps, 5) */
    int16_t *positions;  /* (steps, 2) */
    uint8_t *follows;    /* (steps) */
    int16_t *sounding;   /* (steps) */
    float *part;         /* (steps, 128) */
    float *recent;       /* (steps, 12) */
    float *piece;        /* (steps, 12) */
    float *onsets;       /* (steps, 192) */
    float *durations;    /* (steps, 192) */
    int16_t *sizes;      /* (steps, 4) */
} FeatureOutputs;

enum {
    FEATURES_OK = 0,
    FEATURES_BAD_TOKEN = -1,    /* an id that the table does not have */
    FEATURES_BAD_LENGTH = -2,   /* a count below 0 or above the steps of a row */
    FEATURES_TOO_LONG = -3,     /* a stream of more than 2^31 - 2 tokens */
    FEATURES_BAD_SIZE = -4,     /* of the vocabulary */
    FEATURES_BAD_PITCH = -5,    /* outside 0..127 */
    FEATURES_BAD_POSITION = -6, /* outside 0..191 */
    FEATURES_BAD_PROGRAM = -7,  /* outside -1..127 */
    FEATURES_BAD_METER = -8,    /* a length outside 1..8191 or a unit outside 1..16 */
    FEATURES_BAD_DURATION = -9, /* outside 1..8191 */
    FEATURES_BAD_KIND = -10,    /* not a kind of token */
};

int64_t features_table_bytes(void);
int64_t features_state_bytes(void);

/* Fill a table; the arrays hold one entry a token, as the attributes of `TokenTable`. */
int32_t features_make_table(FeatureTable *table, int32_t size, const int32_t *kind,
                            const int32_t *value, const int32_t *unit);

/* Start a stream. */
void features_begin(FeatureState *state);

/* Read rows of ids (rows, steps), and write the features after each token into arrays of
 * (rows, steps, ...). On an error nothing is read.
 *
 * states: one after the other. lengths: tokens of each row, or NULL for all; the features beyond
 * are those of FeatureArrays.empty. reset: rows that start a stream first, or NULL for none. */
int32_t features_read_rows(FeatureState *states, const FeatureTable *table, const int64_t *ids,
                           int64_t rows, int64_t steps, const int64_t *lengths,
                           const uint8_t *reset, const FeatureOutputs *out);

#endif
