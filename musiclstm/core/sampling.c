/* Sample a token from logits, and log-sum-exp.
 *
 * No memory is allocated and nothing is static: threads may call both at once. */
#include <math.h>
#include <stdint.h>

#include "arithmetic.h"

enum { CHUNK = 64, NO_TOKEN = -1, OUTSIDE_TOP_P = -2 }; /* the last two as in sampling.py */

static float max_of(const float *x, int32_t size) {
    float lanes[LANES], max;
    int32_t i = 0;
    for (int l = 0; l < LANES; l++) lanes[l] = x[0];
    for (; i + LANES <= size; i += LANES)
        for (int l = 0; l < LANES; l++) lanes[l] = x[i + l] > lanes[l] ? x[i + l] : lanes[l];
    for (max = lanes[0]; i < size; i++) max = x[i] > max ? x[i] : max;
    for (int l = 0; l < LANES; l++) max = lanes[l] > max ? lanes[l] : max;
    return max;
}

static int has_nan(const float *x, int32_t size) {
    int32_t found = 0;
    for (int32_t i = 0; i < size; i++) found |= x[i] != x[i];
    return found;
}

static double chunk_sum(const float *x, int32_t from, int32_t size) {
    return sum_of(x + from, size - from < CHUNK ? size - from : CHUNK);
}

/* Returns log(sum(exp(logits))). Meaningless where the highest logit is not finite or one is NaN. */
double logsumexp(const float *logits, int32_t size) {
    float lanes[LANES] = {0};
    const float max_logit = max_of(logits, size);
    double sum = 0.0;
    int32_t i = 0;
    for (; i + LANES <= size; i += LANES)
        for (int l = 0; l < LANES; l++) lanes[l] += exponential(logits[i + l] - max_logit);
    for (; i < size; i++) sum += exponential(logits[i] - max_logit);
    for (int l = 0; l < LANES; l++) sum += lanes[l];
    return max_logit + log(sum);
}

/* The first index at which the cumulative sum exceeds `target`. */
static int32_t index_of(const float *weights, int32_t size, double target) {
    int32_t index = 0, last = size - 1;
    for (double part; index < size; index += CHUNK, target -= part)
        if ((part = chunk_sum(weights, index, size)) > target) break;
    for (; index < size; index++) {
        if (weights[index] > target) return index;
        target -= weights[index];
    }
    while (weights[last] == 0) last--; /* rounding went past the end */
    return last;
}

/* Samples an index in proportion to exp(logit / temperature), among those at least `min_p` times as
 * probable as the most probable one. `uniform`: a random number from 0 to below 1. Overwrites the
 * logits with these weights.
 *
 * Returns NO_TOKEN where the highest logit is infinite or a logit is NaN, and leaves the logits
 * unchanged; OUTSIDE_TOP_P where the sampled index is not among the most probable ones that together
 * reach `top_p`. */
int32_t sample_token(float *logits, int32_t size, float inverse_temperature, double top_p,
                     float min_p, double uniform) {
    const float max_logit = max_of(logits, size);
    if (max_logit - max_logit != 0 || has_nan(logits, size)) return NO_TOKEN;
    for (int32_t i = 0; i < size; i++) {
        float exponent = (logits[i] - max_logit) * inverse_temperature;
        float weight = exponential(exponent);
        logits[i] = exponent > -40.0f && weight >= min_p ? weight : 0.0f;
    }
    const float *weights = logits;
    double total = 0.0, above = 0.0;
    for (int32_t i = 0; i < size; i += CHUNK) total += chunk_sum(weights, i, size);
    const int32_t index = index_of(weights, size, uniform * total);
    if (weights[index] > (1.0 - top_p) * total) return index; /* the others cannot reach top_p */
    for (int32_t i = 0; i < size; i++) above += weights[i] > weights[index] ? weights[i] : 0.0f;
    return above >= top_p * total ? OUTSIDE_TOP_P : index;
}
