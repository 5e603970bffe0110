/* One step of the network: its weights, in the order in which they are read.
 *
 * Step features of each row come as FeatureOutputs with one step a row. */
#ifndef MUSICLSTM_STEP_H
#define MUSICLSTM_STEP_H

#include <stdint.h>

#include "features.h"

enum {
    CANDIDATES = 6,
    REFERENCE_PITCHES = 5,
    PITCH_REACH = 36,     /* semitones to either side of a reference pitch */
    POSITION_REACH = 144, /* positions from a reference position */
    POSITION_LIMIT = 576,
    PITCHES = 128,
    RHYTHM_STEPS = 192,
    CLASSES = 12,
    /* Rows of the context head as step.py orders them; each group is a multiple of four. */
    RELATIVE_PITCH_ROWS = 76, /* of each reference: 73 used */
    HISTOGRAM_AT = REFERENCE_PITCHES * RELATIVE_PITCH_ROWS, /* part, recent, piece, more notes */
    FILTERS_AT = HISTOGRAM_AT + 4,                          /* recent, piece, sounding */
    PITCH_ROWS = FILTERS_AT + 36,
    FORWARD_AT = PITCH_ROWS,                                /* from the last onset: 145 of 148 */
    AROUND_AT = FORWARD_AT + 148,                           /* from the last end: 289 of 292 */
    RHYTHM_AT = AROUND_AT + 292,                            /* onsets, durations, more onsets: 3 of 4 */
    CONTEXT_ROWS = RHYTHM_AT + 4,
};

/* int8 matrices: (rows / 4, blocks, 4 rows, 32 columns), with one scale for each row. */
typedef struct {
    int32_t layers, size, vocab; /* vocab: rounded up to a multiple of four */
    int32_t residual, layer_norm;
    int32_t has_features;
    int32_t programs, tracks, ages; /* rows of the tables below */
    int32_t pitches, positions, durations; /* tokens of these kinds */
    int32_t position_limit;         /* above every position, at most POSITION_LIMIT */
    float epsilon;                  /* of the norms */
    const int8_t *weights;    /* (layers, units / 4, 4 gates, 2, blocks, 4 units, 32); the 2: input
                                 and hidden state; units: size rounded up to a multiple of four */
    const float *scales;      /* (layers, 2, 4 gates, units) */
    const float *biases;      /* (layers, 4 gates, units) */
    const float *norms;       /* (layers + 1, 2, size): weight and bias */
    const float *embeddings;  /* (vocab, size) */
    const int8_t *head;       /* (vocab / 4, blocks, 4 tokens, 32) */
    const float *head_scales; /* (vocab) */
    const float *head_bias;   /* (vocab) */
    /* The rest is read only with features. */
    const float *program, *track, *following, *age; /* (rows, size) each */
    const float *candidate_inputs;                  /* (6, vocab, size): projected embeddings */
    const float *gates;                             /* (6, size + 18) */
    const float *gate_bias;                         /* (6) */
    const int8_t *context;                          /* (CONTEXT_ROWS / 4, blocks, 4, 32) */
    const float *context_scales, *context_bias;     /* (CONTEXT_ROWS) */
    const int32_t *pitch_tokens, *pitch_values;     /* (pitches): ids, and 0 to 127 */
    const int32_t *position_tokens, *position_values; /* (positions) */
    const int32_t *duration_tokens, *duration_values; /* (durations): ids, and positions */
} Network;

int32_t self_check(void);
int64_t workspace_bytes(const Network *net, int32_t rows);
void read_tokens(const Network *net, int32_t rows, const int64_t *ids,
                 const FeatureOutputs *features, float *hidden, float *cell, float *outputs,
                 char *memory);
void read_sequence(const Network *net, int64_t steps, const int64_t *ids,
                   const FeatureOutputs *features, float *hidden, float *cell, float *output,
                   char *memory);
void score_tokens(const Network *net, int32_t rows, const FeatureOutputs *features,
                  const float *copy_weights, const float *outputs, float *logits, char *memory);

#endif
