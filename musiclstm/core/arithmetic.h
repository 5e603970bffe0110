/* Elementary functions and sums in float32, the same to the last bit on every machine.
 *
 * Plain loops and branch-free formulas, which compilers vectorize.
 */
#ifndef MUSICLSTM_ARITHMETIC_H
#define MUSICLSTM_ARITHMETIC_H

#include <stdint.h>

enum { LANES = 8 };

typedef union {
    int32_t bits;
    float value;
} FloatBits;

/* exp(x), x limited to -87..87; relative error below 2e-7. */
static inline float exponential(float x) {
    x = x < 87.0f ? x : 87.0f;
    x = x > -87.0f ? x : -87.0f;
    /* Adding 1.5 * 2^23 rounds to the nearest integer. */
    float power = (x * 1.44269504f + 12582912.0f) - 12582912.0f;
    /* ln 2 in two parts, so that the difference keeps all its digits */
    float r = (x - power * 0.693359375f) + power * 2.12194440e-4f;
    float e = 1.0f + r * (1 / 7.0f); /* Taylor series by Horner's rule; |r| <= ln(2) / 2 */
    e = 1.0f + r * (1 / 6.0f) * e;
    e = 1.0f + r * (1 / 5.0f) * e;
    e = 1.0f + r * (1 / 4.0f) * e;
    e = 1.0f + r * (1 / 3.0f) * e;
    e = 1.0f + r * (1 / 2.0f) * e;
    e = 1.0f + r * e;
    FloatBits two = {((int32_t)power + 127) << 23};
    return e * two.value;
}

/* ln(x) for normal x > 0, by the polynomial of Cephes' logf; error below 2e-7. */
static inline float natural_log(float x) {
    const int32_t root_half = 0x3f3504f3;
    FloatBits mantissa = {0};
    mantissa.value = x;
    const int32_t exponent = (mantissa.bits - root_half) >> 23;
    mantissa.bits -= (int32_t)((uint32_t)exponent << 23); /* sqrt(1/2) .. sqrt(2) */
    const float f = mantissa.value - 1.0f, square = f * f, power = (float)exponent;
    float y = 7.0376836292e-2f;
    y = y * f - 1.1514610310e-1f;
    y = y * f + 1.1676998740e-1f;
    y = y * f - 1.2420140846e-1f;
    y = y * f + 1.4249322787e-1f;
    y = y * f - 1.6668057665e-1f;
    y = y * f + 2.0000714765e-1f;
    y = y * f - 2.4999993993e-1f;
    y = y * f + 3.3333331174e-1f;
    y = y * f * square - power * 2.12194440e-4f - 0.5f * square;
    return f + y + power * 0.693359375f;
}

static inline float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }

static inline float hyperbolic_tangent(float x) { return 2.0f * sigmoid(2.0f * x) - 1.0f; }

static inline float sum_of_lanes(const float *lanes) {
    return ((lanes[0] + lanes[4]) + (lanes[1] + lanes[5]))
         + ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7]));
}

static inline float sum_of(const float *x, int32_t size) {
    float lanes[LANES] = {0};
    int32_t i = 0;
    for (; i + LANES <= size; i += LANES)
        for (int l = 0; l < LANES; l++) lanes[l] += x[i + l];
    for (int l = 0; i < size; i++, l++) lanes[l] += x[i];
    return sum_of_lanes(lanes);
}

static inline float dot_product(const float *x, const float *y, int32_t size) {
    float lanes[LANES] = {0};
    int32_t i = 0;
    for (; i + LANES <= size; i += LANES)
        for (int l = 0; l < LANES; l++) lanes[l] += x[i + l] * y[i + l];
    for (int l = 0; i < size; i++, l++) lanes[l] += x[i] * y[i];
    return sum_of_lanes(lanes);
}

#endif
