/* One step of the network for several rows; only for the files of this folder. */
#ifndef MUSICLSTM_STEP_H
#define MUSICLSTM_STEP_H

#include "core.h"

/* What a step reads and writes for one row. */
typedef struct {
    int32_t token;
    float copy_weight;       /* factor of the copy gates */
    float *hidden, *cell;    /* (layers, size), updated */
    float *output;           /* (size): after the final norm */
    float *logits;           /* (vocab) */
    FeatureOutputs features; /* of one step; not read by a network without them */
} NetworkRow;

/* Reads one token per row: updates states and outputs. */
void network_read(const Network *net, int32_t rows, const NetworkRow *row, char *workspace);

/* Computes the logits of the next tokens from outputs and features. */
void network_score(const Network *net, int32_t rows, const NetworkRow *row, char *workspace);

#endif
