/* What sampling.c has for the files of this folder. */
#ifndef MUSICLSTM_SAMPLING_H
#define MUSICLSTM_SAMPLING_H

#include "core.h"

/* Whether all settings are in their ranges. */
int32_t sampling_is_valid(const SamplingSettings *settings);

/* Natural logarithm of the probability of a token among all. */
float token_log_prob(const TokenTable *table, const float *logits, int32_t token);

#endif
