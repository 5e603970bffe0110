/* Draw a token from logits, and sum up their exponentials. No memory is allocated here. */
#include <stdint.h>

#include "arithmetic.h"

enum { STRETCH = 64, NO_TOKEN = -1, OUTSIDE = -2 }; /* the last two as in sampling.py */

static float maximum(const float *x, int32_t size) {
    float lanes[LANES], highest;
    int32_t i = 0;
    for (int l = 0; l < LANES; l++) lanes[l] = x[0];
    for (; i + LANES <= size; i += LANES)
        for (int l = 0; l < LANES; l++) lanes[l] = x[i + l] > lanes[l] ? x[i + l] : lanes[l];
    for (highest = lanes[0]; i < size; i++) highest = x[i] > highest ? x[i] : highest;
    for (int l = 0; l < LANES; l++) highest = lanes[l] > highest ? lanes[l] : highest;
    return highest;
}

static int has_nan(const float *x, int32_t size) {
    int32_t found = 0;
    for (int32_t i = 0; i < size; i++) found |= x[i] != x[i];
    return found;
}

static double stretch_sum(const float *x, int32_t from, int32_t size) {
    return sum_of(x + from, size - from < STRETCH ? size - from : STRETCH);
}

/* Returns the sum of exp(logit - highest); writes the highest logit to `highest`. */
double sum_exponentials(const float *logits, int32_t size, float *highest) {
    float lanes[LANES] = {0};
    const float top = maximum(logits, size);
    double sum = 0.0;
    int32_t i = 0;
    for (; i + LANES <= size; i += LANES)
        for (int l = 0; l < LANES; l++) lanes[l] += exponential(logits[i + l] - top);
    for (; i < size; i++) sum += exponential(logits[i] - top);
    for (int l = 0; l < LANES; l++) sum += lanes[l];
    *highest = top;
    return sum;
}

/* The first index at which the cumulative sum exceeds `target`. */
static int32_t index_of(const float *weights, int32_t size, double target) {
    int32_t index = 0, last = size - 1;
    for (double part; index < size; index += STRETCH, target -= part)
        if ((part = stretch_sum(weights, index, size)) > target) break;
    for (; index < size; index++) {
        if (weights[index] > target) return index;
        target -= weights[index];
    }
    while (weights[last] == 0) last--; /* rounding went past the end */
    return last;
}

/* Draws an index in proportion to exp(logit * rate), 1 / rate being the temperature, among those at
 * least `min_p` times as probable as the most probable one. `chance`: 0 to below 1. Overwrites the
 * logits with these weights.
 *
 * Returns NO_TOKEN where the highest logit is infinite or a logit is NaN, and then leaves them;
 * OUTSIDE where the index drawn is not among the most probable ones that together reach `top_p`. */
int32_t draw_token(float *logits, int32_t size, float rate, double top_p, float min_p,
                   double chance) {
    const float highest = maximum(logits, size);
    if (highest - highest != 0 || has_nan(logits, size)) return NO_TOKEN;
    for (int32_t i = 0; i < size; i++) {
        float below = (logits[i] - highest) * rate, weight = exponential(below);
        logits[i] = below > -40.0f && weight >= min_p ? weight : 0.0f;
    }
    const float *weights = logits;
    double total = 0.0, above = 0.0;
    for (int32_t i = 0; i < size; i += STRETCH) total += stretch_sum(weights, i, size);
    const int32_t index = index_of(weights, size, chance * total);
    if (weights[index] > (1.0 - top_p) * total) return index; /* the others cannot reach top_p */
    for (int32_t i = 0; i < size; i++) above += weights[i] > weights[index] ? weights[i] : 0.0f;
    return above >= top_p * total ? OUTSIDE : index;
}
